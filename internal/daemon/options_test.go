package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/config"
)

func TestOneSourceOfConfigurationWinsOverTheNext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.properties")
	text := "node.id=1\nnum.partitions=1\nlog.dirs=/file\nlisteners=PLAINTEXT://file:1\nlog.retention.hours=1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{File: file, NodeID: -1}
	for _, step := range []struct {
		add  func()
		want map[string]string
	}{
		{func() {}, map[string]string{"node.id": "1", "num.partitions": "1", "log.dirs": "/file", "listeners": "PLAINTEXT://file:1"}},
		{func() {
			o.Environ = []string{"GREGOR_NODE_ID=2", "GREGOR_NUM_PARTITIONS=2", "GREGOR_LISTENERS=env:2", "NUM_PARTITIONS=9"}
		},
			map[string]string{"node.id": "2", "num.partitions": "2", "log.dirs": "/file", "listeners": "env:2"}},
		{func() { o.NodeID, o.DataDir, o.Listen = 3, "/flag", []string{"flag:3", "B://flag:4"} },
			map[string]string{"node.id": "3", "num.partitions": "2", "log.dirs": "/flag", "listeners": "flag:3,B://flag:4"}},
		{func() { o.Set = []string{"node.id=5", "num.partitions=5", "log.dirs=/set", "listeners=set:5"} },
			map[string]string{"node.id": "5", "num.partitions": "5", "log.dirs": "/set", "listeners": "set:5", "log.retention.hours": "1"}},
	} {
		step.add()
		static, _, err := o.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range step.want {
			if static[key] != want {
				t.Errorf("%s is %q, not %q", key, static[key], want)
			}
		}
	}
}

func TestAWrongSettingIsAnErrorWhereItWasMeantForUs(t *testing.T) {
	for _, o := range []Options{
		{Set: []string{"log.retention.hous=1"}}, {Set: []string{"num.partitions"}}, {Set: []string{"num.partitions=many"}},
		{Environ: []string{"GREGOR_NUM_PARTITIONS=many"}}, {File: "/nowhere/server.properties"},
	} {
		o.NodeID = -1
		if static, _, err := o.Resolve(); err == nil {
			t.Errorf("%+v was taken: %v", o, static)
		}
	}
	file := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(file, []byte("num.partition=3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for where, o := range map[string]Options{
		file:                       {File: file},
		"GREGOR_NUM_PARTITIONS":    {Environ: []string{"GREGOR_NUM_PARTITIONS=many"}},
		"--set num.partitions=few": {Environ: []string{"GREGOR_NODE_ID=1"}, Set: []string{"num.partitions=few"}},
	} {
		o.NodeID = -1
		if _, _, err := o.Resolve(); err == nil || !strings.HasPrefix(err.Error(), where+": ") {
			t.Errorf("what is wrong in %s is told as %v", where, err)
		}
	}
	// Others set variables that begin like ours, and a slip of the pen should not go unseen for it.
	static, notices, err := Options{NodeID: -1, Environ: []string{"GREGOR_SERVICE_HOST=10.0.0.1", "GREGOR_NUM_PARTITION=3"}}.Resolve()
	if err != nil || len(static) != 0 {
		t.Fatal(static, err)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "GREGOR_NUM_PARTITION ") || !strings.Contains(notices[0], "num.partitions") {
		t.Errorf("notices: %q", notices)
	}
}

func layersOf(keys config.Static) config.Layers { return config.Layers{Static: keys.Layer()} }

func TestListenersAreReadAsKafkaWritesThem(t *testing.T) {
	for _, c := range []struct {
		keys config.Static
		want []listener // nil: an error
	}{
		{config.Static{}, []listener{{"PLAINTEXT", "127.0.0.1", 9092}}},
		{config.Static{"listeners": "0.0.0.0:1, [::1]:2"}, []listener{{"PLAINTEXT", "0.0.0.0", 1}, {"PLAINTEXT", "::1", 2}}},
		{config.Static{"listeners": "plaintext://:9092"}, []listener{{"PLAINTEXT", "", 9092}}},
		{config.Static{"listeners": "PLAINTEXT://a:1,CONTROLLER://a:2", "controller.listener.names": "CONTROLLER"}, []listener{{"PLAINTEXT", "a", 1}}},
		{config.Static{"listeners": "IN://a:1,OUT://a:2", "listener.security.protocol.map": "IN:PLAINTEXT,OUT:PLAINTEXT"},
			[]listener{{"IN", "a", 1}, {"OUT", "a", 2}}},
		{config.Static{"listeners": "SSL://a:1"}, nil},
		{config.Static{"listeners": "OUT://a:1", "listener.security.protocol.map": "OUT:SASL_SSL"}, nil},
		{config.Static{"listeners": "OUT://a:1"}, nil},
		{config.Static{"listeners": "CONTROLLER://a:1", "controller.listener.names": "CONTROLLER"}, nil},
		{config.Static{"listeners": "a"}, nil},
		{config.Static{"listeners": "a:70000"}, nil},
	} {
		got, err := listeners(layersOf(c.keys))
		if (err != nil) != (c.want == nil) || len(got) != len(c.want) {
			t.Errorf("%v: %v, %v", c.keys, got, err)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%v: %v", c.keys, got)
			}
		}
	}
}

func TestWhatIsAdvertisedCanBeConnectedTo(t *testing.T) {
	for text, want := range map[string]map[string]listener{
		"":                           {},
		"kafka.example.org:9092":     {"": {"", "kafka.example.org", 9092}},
		"IN://a:1,OUT://[2001::1]:2": {"IN": {"IN", "a", 1}, "OUT": {"OUT", "2001::1", 2}},
		"0.0.0.0:9092":               nil,
		"PLAINTEXT://[::]:9092":      nil,
		"PLAINTEXT://:9092":          nil,
	} {
		got, err := advertised(layersOf(config.Static{"advertised.listeners": text}))
		if (err != nil) != (want == nil) || len(got) != len(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		for name, l := range want {
			if got[name] != l {
				t.Errorf("%q: %v", text, got)
			}
		}
	}
}
