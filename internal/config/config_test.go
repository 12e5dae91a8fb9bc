package config

import (
	"strings"
	"testing"
)

func TestEveryDefaultIsValid(t *testing.T) {
	for _, keys := range [][]*Key{BrokerKeys(), TopicKeys()} {
		for _, k := range keys {
			if k.Type == 0 || k.Doc == "" {
				t.Errorf("%s: no type or no documentation", k.Name)
			}
			if !k.Null {
				if err := k.Check(k.Default); err != nil {
					t.Error(err)
				}
			}
			for _, s := range k.Synonyms {
				if BrokerKey(s.Name) == nil {
					t.Errorf("%s: there is no broker key %s", k.Name, s.Name)
				}
			}
		}
	}
	if n := len(BrokerKeys()); n < 300 {
		t.Fatalf("%d broker keys", n)
	}
}

func TestValuesAreCheckedByTypeAndRange(t *testing.T) {
	for _, c := range []struct {
		key, value string
		good       bool
	}{
		{"retention.ms", "-1", true}, {"retention.ms", "-2", false}, {"retention.ms", "ten", false},
		{"segment.bytes", "1048576", true}, {"segment.bytes", "100", false}, {"segment.bytes", "9999999999", false},
		{"cleanup.policy", "compact,delete", true}, {"cleanup.policy", "compact,compact", false}, {"cleanup.policy", "", true}, {"cleanup.policy", "keep", false},
		{"compression.type", "zstd", true}, {"compression.type", "brotli", false},
		{"compression.gzip.level", "-1", true}, {"compression.gzip.level", "0", false}, {"compression.gzip.level", "9", true},
		{"min.cleanable.dirty.ratio", "0.2", true}, {"min.cleanable.dirty.ratio", "1.5", false},
		{"preallocate", "TRUE", true}, {"preallocate", "yes", false},
		{"ack.durability", "memory", true}, {"ack.durability", "none", false},
		{"leader.replication.throttled.replicas", "*", true}, {"leader.replication.throttled.replicas", "0:1,12:3", true},
		{"follower.replication.throttled.replicas", "", true}, {"follower.replication.throttled.replicas", "0", false},
		{"follower.replication.throttled.replicas", "0:x", false},
	} {
		if err := TopicKey(c.key).Check(c.value); (err == nil) != c.good {
			t.Errorf("%s=%s: %v", c.key, c.value, err)
		}
	}
}

func TestTheStrongestLayerWins(t *testing.T) {
	set := func(pairs ...string) Layer {
		m := Static{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m.Layer()
	}
	l := Layers{Static: set("log.retention.hours", "1", "log.retention.minutes", "10")}
	if v := l.TopicInt("retention.ms"); v != 600000 {
		t.Fatalf("minutes win over hours: %d", v)
	}
	l.DefaultBroker = set("log.retention.ms", "5")
	l.Broker = set("log.retention.ms", "6")
	if v := l.TopicInt("retention.ms"); v != 6 {
		t.Fatalf("this broker wins over all brokers: %d", v)
	}
	l.Topic = set("retention.ms", "7")
	var sources []Source
	for _, v := range l.Values(TopicKey("retention.ms"), true) {
		sources = append(sources, v.Source)
	}
	want := []Source{FromTopic, FromBroker, FromDefaultBroker, FromStatic, FromStatic, FromDefault}
	if len(sources) != len(want) {
		t.Fatalf("%v", sources)
	}
	for i := range want {
		if sources[i] != want[i] {
			t.Fatalf("%v, want %v", sources, want)
		}
	}
	if v := (Layers{}).Int("node.id"); v != 0 {
		t.Fatalf("node.id defaults to %d", v)
	}
	if v := (Layers{Static: set("broker.id", "3")}).Int("node.id"); v != 3 {
		t.Fatalf("broker.id is an old name of node.id: %d", v)
	}
}

func TestAMisspeltKeyIsAnErrorThatNamesTheNearest(t *testing.T) {
	_, err := Static{"log.retention.hour": "3"}.Check()
	if err == nil || !strings.Contains(err.Error(), `"log.retention.hours"`) {
		t.Fatal(err)
	}
	if err := UnknownKey("retenton.ms", TopicKeys()); !strings.Contains(err.Error(), `"retention.ms"`) {
		t.Fatal(err)
	}
	if err := UnknownKey("qqqqqqqqqqqqqqqqqqqqq", TopicKeys()); strings.Contains(err.Error(), "mean") {
		t.Fatal(err)
	}
	notices, err := Static{"num.io.threads": "4", "listener.name.internal.ssl.key": "x"}.Check()
	if err != nil || len(notices) != 2 {
		t.Fatal(notices, err)
	}
}

func TestPropertiesFilesAreReadAsJavaReadsThem(t *testing.T) {
	got, err := ParseProperties("# comment\n! another\n\n a = 1 \nb:two words\nc   3\nlong=x\\\n   y\nempty=\nd=C\\:\\\\tmp\n")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "1", "b": "two words", "c": "3", "long": "xy", "empty": "", "d": `C:\tmp`} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if _, err := ParseProperties("novalue\n"); err == nil {
		t.Error("a line without a value is an error")
	}
	if key, ok := EnvironmentKey("GREGOR_LOG_RETENTION_MS"); !ok || key != "log.retention.ms" {
		t.Error(key, ok)
	}
}
