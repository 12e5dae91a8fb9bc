// Package config is the one table of every configuration key, and what follows from it: reading properties files,
// checking values, finding the value in effect, and naming the nearest key when one is misspelt.
//
// It promises that keys, types, valid values and defaults are Apache Kafka's, except where a decision note says why
// ours differ; that a key of Kafka's which means nothing here is known and says so; and that an unknown key is an error.
// Everybody may read the table. The package reads no file and no environment, and does not know what any key does.
package config

import (
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Type is a key's type, by its number in DescribeConfigs.
type Type int8

const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

var typeNames = map[string]Type{"boolean": Boolean, "string": String, "int": Int, "short": Short, "long": Long,
	"double": Double, "list": List, "class": Class, "password": Password}

// Key is one row of the table.
type Key struct {
	Name    string
	Type    Type
	Default string
	Null    bool   // there is no default
	Valid   string // as in keys.tsv
	// Dynamic keys of brokers can be changed while they run.
	Dynamic bool
	// Idle keys are accepted and have no effect.
	Idle bool
	Doc  string
	// Synonyms of a topic's key are the brokers' keys that give its default, the strongest first (KIP-226).
	Synonyms []Synonym
}

// Synonym is a broker's key that stands behind another key. Its value times Scale is the other key's.
type Synonym struct {
	Name  string
	Scale int64
}

// Sensitive reports whether the key's value is never told.
func (k *Key) Sensitive() bool { return k.Type == Password }

//go:embed keys.tsv
var tableText string

var brokerKeys, topicKeys = parseTable(tableText)

// BrokerKeys and TopicKeys are all keys of their kind, by name.
func BrokerKeys() []*Key { return brokerKeys }
func TopicKeys() []*Key  { return topicKeys }

// BrokerKey and TopicKey find a key by name; nil if there is none.
func BrokerKey(name string) *Key { return find(brokerKeys, name) }
func TopicKey(name string) *Key  { return find(topicKeys, name) }

func find(keys []*Key, name string) *Key {
	i, ok := slices.BinarySearchFunc(keys, name, func(k *Key, name string) int { return strings.Compare(k.Name, name) })
	if !ok {
		return nil
	}
	return keys[i]
}

func parseTable(text string) (brokers, topics []*Key) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		k := &Key{Name: f[1], Type: typeNames[f[2]], Default: f[3], Valid: f[4], Dynamic: f[5] != "static", Doc: f[6],
			Idle: strings.HasPrefix(f[6], "Accepted and without effect")}
		switch k.Default {
		case "null":
			k.Default, k.Null = "", true
		case `""`:
			k.Default = ""
		}
		if f[0] == "topic" {
			k.Synonyms = topicSynonyms[k.Name]
			topics = append(topics, k)
		} else {
			k.Synonyms = brokerSynonyms[k.Name]
			brokers = append(brokers, k)
		}
	}
	byName := func(a, b *Key) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(brokers, byName)
	slices.SortFunc(topics, byName)
	return brokers, topics
}

const (
	minuteMs = 60 * 1000
	hourMs   = 60 * minuteMs
)

// topicSynonyms says which broker keys give a topic key's default. Most have the topic's name with "log." before it.
var topicSynonyms = func() map[string][]Synonym {
	one := func(name string) []Synonym { return []Synonym{{name, 1}} }
	return map[string][]Synonym{
		"ack.durability":                  one("log.ack.durability"),
		"cleanup.policy":                  one("log.cleanup.policy"),
		"compression.gzip.level":          one("compression.gzip.level"),
		"compression.lz4.level":           one("compression.lz4.level"),
		"compression.type":                one("compression.type"),
		"compression.zstd.level":          one("compression.zstd.level"),
		"delete.retention.ms":             one("log.cleaner.delete.retention.ms"),
		"file.delete.delay.ms":            one("log.segment.delete.delay.ms"),
		"flush.messages":                  one("log.flush.interval.messages"),
		"flush.ms":                        {{"log.flush.interval.ms", 1}, {"log.flush.scheduler.interval.ms", 1}},
		"index.interval.bytes":            one("log.index.interval.bytes"),
		"local.retention.bytes":           one("log.local.retention.bytes"),
		"local.retention.ms":              one("log.local.retention.ms"),
		"max.compaction.lag.ms":           one("log.cleaner.max.compaction.lag.ms"),
		"max.message.bytes":               one("message.max.bytes"),
		"message.timestamp.after.max.ms":  one("log.message.timestamp.after.max.ms"),
		"message.timestamp.before.max.ms": one("log.message.timestamp.before.max.ms"),
		"message.timestamp.type":          one("log.message.timestamp.type"),
		"min.cleanable.dirty.ratio":       one("log.cleaner.min.cleanable.ratio"),
		"min.compaction.lag.ms":           one("log.cleaner.min.compaction.lag.ms"),
		"min.insync.replicas":             one("min.insync.replicas"),
		"preallocate":                     one("log.preallocate"),
		"retention.bytes":                 one("log.retention.bytes"),
		"retention.ms":                    {{"log.retention.ms", 1}, {"log.retention.minutes", minuteMs}, {"log.retention.hours", hourMs}},
		"segment.bytes":                   one("log.segment.bytes"),
		"segment.index.bytes":             one("log.index.size.max.bytes"),
		"segment.jitter.ms":               {{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", hourMs}},
		"segment.ms":                      {{"log.roll.ms", 1}, {"log.roll.hours", hourMs}},
		"unclean.leader.election.enable":  one("unclean.leader.election.enable"),
	}
}()

// brokerSynonyms are broker keys with an older or coarser name behind them.
var brokerSynonyms = map[string][]Synonym{
	"log.dirs":              {{"log.dir", 1}},
	"node.id":               {{"broker.id", 1}},
	"log.flush.interval.ms": {{"log.flush.scheduler.interval.ms", 1}},
	"log.retention.ms":      {{"log.retention.minutes", minuteMs}, {"log.retention.hours", hourMs}},
	"log.retention.minutes": {{"log.retention.hours", 60}},
	"log.roll.ms":           {{"log.roll.hours", hourMs}},
	"log.roll.jitter.ms":    {{"log.roll.jitter.hours", hourMs}},
}

// Check says what is wrong with a value, in words for whoever set it; nil if nothing is.
func (k *Key) Check(value string) error {
	var err error
	switch k.Type {
	case Boolean:
		if v := strings.ToLower(strings.TrimSpace(value)); v != "true" && v != "false" {
			err = fmt.Errorf("must be true or false")
		}
	case Int:
		err = k.checkNumber(value, 32)
	case Short:
		err = k.checkNumber(value, 16)
	case Long:
		err = k.checkNumber(value, 64)
	case Double:
		var v float64
		if v, err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil {
			err = fmt.Errorf("must be a number")
		} else if low, high, _, bounded := k.bounds(); bounded && (v < low || v > high) {
			err = fmt.Errorf("must be %s", k.span())
		}
	case List:
		err = k.checkList(value)
	case String:
		err = k.checkWord(value)
	}
	if err != nil {
		return fmt.Errorf("invalid value %s for configuration %s: %w", value, k.Name, err)
	}
	return nil
}

func (k *Key) checkNumber(value string, bits int) error {
	v, err := strconv.ParseInt(strings.TrimSpace(value), 10, bits)
	if err != nil {
		return fmt.Errorf("must be a whole number of %d bits", bits)
	}
	low, high, also, bounded := k.bounds()
	if bounded && (float64(v) < low || float64(v) > high) && (also == nil || *also != v) {
		return fmt.Errorf("must be %s", k.span())
	}
	return nil
}

// bounds reads a numeric Valid: least, most, and one value beside them.
func (k *Key) bounds() (low, high float64, also *int64, ok bool) {
	span, extra, hasExtra := strings.Cut(k.Valid, "|")
	from, to, ok := strings.Cut(span, "..")
	if !ok {
		return 0, 0, nil, false
	}
	low, _ = strconv.ParseFloat(from, 64)
	high = math.MaxFloat64
	if to != "" {
		high, _ = strconv.ParseFloat(to, 64)
	}
	if hasExtra {
		v, _ := strconv.ParseInt(extra, 10, 64)
		also = &v
	}
	return low, high, also, true
}

func (k *Key) span() string {
	span, extra, hasExtra := strings.Cut(k.Valid, "|")
	from, to, _ := strings.Cut(span, "..")
	text := "at least " + from
	if to != "" {
		text = "from " + from + " to " + to
	}
	if hasExtra {
		text += ", or " + extra
	}
	return text
}

func (k *Key) checkWord(value string) error {
	switch k.Valid {
	case "-":
		return nil
	case "replicas":
		return checkReplica(value)
	}
	words, fold := strings.CutPrefix(k.Valid, "~")
	for word := range strings.SplitSeq(words, "|") {
		if value == word || fold && strings.EqualFold(value, word) {
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.ReplaceAll(words, "|", ", "))
}

// checkReplica checks an element of a list of throttled replicas (KIP-73).
func checkReplica(value string) error {
	partition, broker, _ := strings.Cut(value, ":")
	for _, number := range []string{partition, broker} {
		if _, err := strconv.ParseUint(number, 10, 31); err != nil && value != "*" {
			return fmt.Errorf("must be * or a list of PARTITION:BROKER")
		}
	}
	return nil
}

// checkList refuses elements that are not allowed, empty ones, and ones that come twice (KIP-1161).
func (k *Key) checkList(value string) error {
	var seen []string
	for _, word := range SplitList(value) {
		if err := k.checkWord(word); err != nil {
			return err
		}
		if k.Valid != "-" && slices.Contains(seen, word) {
			return fmt.Errorf("%s is named twice", word)
		}
		seen = append(seen, word)
	}
	return nil
}

// SplitList splits a comma-separated value; the empty value has no elements.
func SplitList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// Nearest is the name of the key that is least different from what somebody wrote, "" where none is near.
func Nearest(name string, keys []*Key) string {
	best, least := "", max(3, len(name)/3)+1
	for _, k := range keys {
		if d := distance(name, k.Name, least); d < least {
			best, least = k.Name, d
		}
	}
	return best
}

// distance is how many letters must be added, taken away or replaced to make b of a, or limit if it is not less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}

// UnknownKey is the error for a key that does not exist.
func UnknownKey(name string, keys []*Key) error {
	if near := Nearest(name, keys); near != "" {
		return fmt.Errorf("unknown configuration %q: did you mean %q?", name, near)
	}
	return fmt.Errorf("unknown configuration %q", name)
}
