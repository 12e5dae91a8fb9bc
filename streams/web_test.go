package streams_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gregorhq/gregor/streams"
	"github.com/gregorhq/gregor/streams/serde"
	"github.com/gregorhq/gregor/streams/streamsprom"
)

// everyKind has a store of each kind: rows, their history, windows, sessions, and a global table.
func everyKind(b *streams.Builder) {
	in := stream(b, "in")
	counted := in.GroupByKey().Count(counts("rows"))
	streams.MapValues(counted.ToStream(), func(n int64) string { return fmt.Sprint(n) }).To(topicOf("out"))
	streams.CountWindows(in.GroupByKey().Windows(streams.Tumbling(ms(10))), streams.Window("windows", serde.String, serde.Int64).Retention(time.Hour))
	streams.CountSessions(in.GroupByKey().Sessions(streams.Sessions(ms(10))), streams.Session("sessions", serde.String, serde.Int64).Retention(time.Hour))
	streams.TableFrom(b, topicOf("history"), streams.KV("versions", serde.String, serde.String).Versioned(time.Hour))
	streams.GlobalTableFrom(b, topicOf("all"), streams.KV("global", serde.String, serde.String))
}

// ask returns an answer without the tasks in it: which one has a key is of no interest.
func ask(t *testing.T, h http.Handler, path string) (status int, answer string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s: %s: %v", path, w.Body, err)
	}
	rows, _ := v["rows"].([]any)
	for _, r := range rows {
		if task, _ := r.(map[string]any)["task"].(string); task == "" {
			t.Errorf("%s: a row without a task: %v", path, r)
		}
		delete(r.(map[string]any), "task")
	}
	b, _ := json.Marshal(v)
	return w.Code, string(b)
}

func TestStoresCanBeAskedOverHTTP(t *testing.T) {
	c := startCluster(t, map[string]int32{"in": 2, "out": 1, "history": 1, "all": 1})
	c.send("all", "g", "everywhere", 5)
	for i, v := range []string{"old", "new"} {
		c.send("history", "h", v, int64(10+10*i))
	}
	c.flush()
	r := c.run(streams.Config{}, everyKind)
	for _, at := range []int64{1, 2, 15, 50} {
		c.send("in", "a", "v", at)
	}
	c.send("in", "b/c", "v", 60)
	c.flush()
	c.table("out", map[string]string{"a": "4", "b/c": "1"})
	h := r.app.QueryHandler()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if status, _ := ask(t, h, "/stores/versions/h"); status == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the history was not read")
		}
	}

	const at = `"1970-01-01T00:00:00.`
	for path, want := range map[string]string{
		"/stores/rows/a":               `200 {"more":false,"rows":[{"key":"a","timestamp":` + at + `05Z","value":4}],"store":"rows"}`,
		"/stores/rows/b%2Fc":           `200 {"more":false,"rows":[{"key":"b/c","timestamp":` + at + `06Z","value":1}],"store":"rows"}`,
		"/stores/rows/nobody":          `404 {"error":"the store rows has no row with the key nobody on this instance"}`,
		"/stores/rows?from=b":          `200 {"more":false,"rows":[{"key":"b/c","timestamp":` + at + `06Z","value":1}],"store":"rows"}`,
		"/stores/rows?limit=0":         `400 {"error":"limit is a number from 1, not \"0\""}`,
		"/stores/nothing":              `404 {"error":"the topology has no store \"nothing\""}`,
		"/stores/versions/h":           `200 {"more":false,"rows":[{"key":"h","timestamp":` + at + `02Z","value":"new"}],"store":"versions"}`,
		"/stores/versions/h?asof=15":   `200 {"more":false,"rows":[{"key":"h","timestamp":` + at + `01Z","value":"old"}],"store":"versions"}`,
		"/stores/versions/h?asof=then": `400 {"error":"a time is RFC 3339, as in 2026-01-31T10:00:00Z, or milliseconds since 1970, not \"then\""}`,
		"/stores/versions":             `400 {"error":"a versioned store is asked for one key"}`,
		"/stores/rows/a?asof=15":       `400 {"error":"only a versioned store knows what a row was at a time"}`,
		"/stores/global":               `200 {"more":false,"rows":[{"key":"g","timestamp":` + at + `005Z","value":"everywhere"}],"store":"global"}`,
		"/stores/windows/a?to=40": `200 {"more":false,"rows":[{"key":"a","start":"1970-01-01T00:00:00Z","timestamp":` + at + `002Z","value":2},` +
			`{"key":"a","start":` + at + `01Z","timestamp":` + at + `015Z","value":1}],"store":"windows"}`,
		"/stores/sessions/a?from=40":                     `200 {"more":false,"rows":[{"end":` + at + `05Z","key":"a","start":` + at + `05Z","value":1}],"store":"sessions"}`,
		"/stores/sessions?from=1970-01-01T00:00:00.055Z": `200 {"more":false,"rows":[{"end":` + at + `06Z","key":"b/c","start":` + at + `06Z","value":1}],"store":"sessions"}`,
	} {
		if status, answer := ask(t, h, path); fmt.Sprint(status, " ", answer) != want {
			t.Errorf("%s\n got %d %s\nwant %s", path, status, answer, want)
		}
	}
	if status, answer := ask(t, h, "/stores/rows?limit=1"); status != 200 || !strings.HasPrefix(answer, `{"more":true`) {
		t.Errorf("one of two rows: %d %s", status, answer)
	}
	_, overview := ask(t, h, "/")
	for _, s := range []string{`"application_id":"app"`, `"kind":"versioned"`, `"key":"string","kind":"window"`, `"name":"global"`} {
		if !strings.Contains(overview, s) {
			t.Errorf("the overview %s lacks %s", overview, s)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/stores/rows", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a POST gets %d", w.Code)
	}
	r.end()
	if status, answer := ask(t, h, "/stores/rows/a"); status != http.StatusServiceUnavailable {
		t.Errorf("an app that has ended says %d %s", status, answer)
	}
}

func TestMetricsSayWhatAnInstanceDid(t *testing.T) {
	c := startCluster(t, map[string]int32{"in": 1, "out": 1, "history": 1, "all": 1})
	r := c.run(streams.Config{CommitInterval: 10 * time.Millisecond}, everyKind)
	for i := range 10 {
		c.send("in", "k", "v", int64(1000+i))
	}
	c.flush()
	c.table("out", map[string]string{"k": "10"})
	registry := prometheus.NewRegistry()
	registry.MustRegister(streamsprom.NewCollector(r.app))
	want := map[string]float64{
		"kafka_streams_tasks running": 2, "kafka_streams_tasks restoring": 0, "kafka_streams_paused": 0,
		"kafka_streams_task_process_total 0_0": 10, "kafka_streams_task_dropped_records_total 0_0": 0,
		"kafka_streams_task_stream_time_seconds 0_0": 1.009, "kafka_streams_input_lag_records 0 0_0 in": 0,
		"kafka_streams_input_offset 0 0_0 in": 10, "kafka_streams_input_committed_offset 0 0_0 in": 10,
		"kafka_streams_node_process_total KSTREAM-SOURCE-0000000000 0_0": 10, "kafka_streams_poll_records_total": 10,
		"kafka_streams_task_changelog_records_total 0_0": 39, // of rows, windows, and sessions, which are written and deleted
	}
	var got map[string]float64
	for deadline := time.Now().Add(20 * time.Second); !reflect.DeepEqual(got, want); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the metrics are\n%v\nand not\n%v", got, want)
		}
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got = map[string]float64{}
		for _, family := range all {
			for _, m := range family.GetMetric() {
				name := family.GetName()
				for _, l := range m.GetLabel() {
					if l.GetName() != "application_id" {
						name += " " + l.GetValue()
					}
				}
				if _, wanted := want[name]; wanted {
					got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
}
