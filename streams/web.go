package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// QueryHandler answers questions about the stores of this instance over HTTP, as JSON:
//
//	GET /                       the application id, the tasks that run here, and the stores
//	GET /stores/{store}         rows; of a key-value store those from ?from= to ?to= (keys), of windows and sessions those in
//	                            that time; at most ?limit= of them, 1,000 if it is not given
//	GET /stores/{store}/{key}   the row of a key, of a versioned store as of ?asof=; its windows or sessions
//
// A key is text where the serde's type is a string or bytes, and otherwise JSON, which numbers look like. Times are RFC 3339 or
// milliseconds since 1970. In answers bytes are base64, and times RFC 3339.
//
// It knows the rows of this instance's tasks only: another instance may have the key. A store whose tasks are elsewhere or are being
// restored is answered with status 503, an unknown store or key with 404. Processing waits while rows are collected. Mount it where
// only friends can reach it: whoever can ask it can read all of the application's state.
//
//	mux.Handle("/-/streams/", http.StripPrefix("/-/streams", app.QueryHandler()))
func (a *App) QueryHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, a.overview()) })
	mux.HandleFunc("GET /stores/{store}", func(w http.ResponseWriter, r *http.Request) { a.answerWeb(w, r, nil) })
	mux.HandleFunc("GET /stores/{store}/{key}", func(w http.ResponseWriter, r *http.Request) {
		key := r.PathValue("key")
		a.answerWeb(w, r, &key)
	})
	return mux
}

// webOverview is what an instance has.
type webOverview struct {
	Application string     `json:"application_id"`
	Tasks       []string   `json:"tasks"`
	Restoring   []string   `json:"restoring"`
	Stores      []webStore `json:"stores"`
}

type webStore struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`
	Key   string   `json:"key"`
	Value string   `json:"value"`
	Tasks []string `json:"tasks"`
}

// webRow is a row in an answer.
type webRow struct {
	Task  string          `json:"task"`
	Key   json.RawMessage `json:"key"`
	Start *time.Time      `json:"start,omitempty"`
	End   *time.Time      `json:"end,omitempty"`
	Value json.RawMessage `json:"value"`
	Time  *time.Time      `json:"timestamp,omitempty"`
}

type webRows struct {
	Store string   `json:"store"`
	Rows  []webRow `json:"rows"`
	More  bool     `json:"more"` // there are more than the limit
}

// asked is a store that can be asked without knowing its types.
type asked interface {
	describe() (kind string, key, value reflect.Type)
	// ask visits the rows that are asked for, until visit returns false.
	ask(q webQuery, visit func(webRow) bool) error
}

// webQuery is a question to a store. Bounds are text, since it depends on the store what they are.
type webQuery struct {
	key            *string
	from, to, asOf string
}

// badQuery is a question that makes no sense to the store.
type badQuery struct{ error }

func (a *App) overview() webOverview {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := webOverview{Application: a.config.AppID, Tasks: []string{}, Restoring: []string{}, Stores: []webStore{}}
	stores := map[string]*webStore{}
	for _, t := range a.all() {
		o.Tasks = append(o.Tasks, t.id.String())
		for name, s := range t.stores {
			q, ok := s.(asked)
			if !ok {
				continue
			}
			if stores[name] == nil {
				kind, key, value := q.describe()
				stores[name] = &webStore{Name: name, Kind: kind, Key: key.String(), Value: value.String()}
			}
			stores[name].Tasks = append(stores[name].Tasks, t.id.String())
		}
	}
	for id := range a.starting {
		o.Restoring = append(o.Restoring, id.String())
	}
	slices.Sort(o.Restoring)
	for _, s := range stores {
		o.Stores = append(o.Stores, *s)
	}
	slices.SortFunc(o.Stores, func(x, y webStore) int { return strings.Compare(x.Name, y.Name) })
	return o
}

func (a *App) answerWeb(w http.ResponseWriter, r *http.Request, key *string) {
	name, form := r.PathValue("store"), r.URL.Query()
	limit, err := limitOf(form.Get("limit"))
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if a.topology.stores[name] == nil {
		refuse(w, http.StatusNotFound, fmt.Errorf("the topology has no store %q", name))
		return
	}
	rows := webRows{Store: name, Rows: []webRow{}}
	err = a.collect(name, webQuery{key, form.Get("from"), form.Get("to"), form.Get("asof")}, limit, &rows)
	var bad badQuery
	switch {
	case errors.As(err, &bad):
		refuse(w, http.StatusBadRequest, err)
	case errors.Is(err, ErrNotHere):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, err)
	case err != nil:
		refuse(w, http.StatusInternalServerError, err)
	case key != nil && len(rows.Rows) == 0:
		refuse(w, http.StatusNotFound, fmt.Errorf("the store %s has no row with the key %s on this instance", name, *key))
	default:
		reply(w, http.StatusOK, rows)
	}
}

// collect gathers rows from all tasks that have the store.
func (a *App) collect(name string, q webQuery, limit int, rows *webRows) error {
	var failed error
	err := a.query(name, func(t *Task) (enough bool) {
		s, ok := t.stores[name].(asked)
		if !ok {
			failed = badQuery{fmt.Errorf("the store %s belongs to an operator and cannot be asked", name)}
			return true
		}
		failed = s.ask(q, func(row webRow) bool {
			if len(rows.Rows) == limit {
				rows.More = true
				return false
			}
			row.Task = t.id.String()
			rows.Rows = append(rows.Rows, row)
			return true
		})
		return failed != nil || rows.More
	})
	return errors.Join(err, failed)
}

func limitOf(text string) (int, error) {
	if text == "" {
		return 1000, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return 0, fmt.Errorf("limit is a number from 1, not %q", text)
	}
	return limit, nil
}

func (s *kvState[K, V]) describe() (kind string, key, value reflect.Type) {
	if kind = "key-value"; s.history != nil {
		kind = "versioned"
	}
	return kind, reflect.TypeFor[K](), reflect.TypeFor[V]()
}

func (s *kvState[K, V]) ask(q webQuery, visit func(webRow) bool) error {
	if q.key != nil {
		return s.askKey(*q.key, q.asOf, visit)
	}
	if s.history != nil {
		return badQuery{errors.New("a versioned store is asked for one key")}
	}
	var bounds [2][]byte
	for i, text := range []string{q.from, q.to} {
		if text == "" {
			continue
		}
		key, err := keyOf[K](text)
		if err != nil {
			return err
		}
		bounds[i] = encoded(s.keys, key)
	}
	for k, v := range s.rows.Range(bounds[0], bounds[1], false) {
		row, err := webRowOf(decode(s.keys, nulls[K]{}, k).v, s.row(v))
		if err != nil {
			return err
		}
		if !visit(row) {
			return nil
		}
	}
	return nil
}

func (s *kvState[K, V]) askKey(text, asOf string, visit func(webRow) bool) error {
	key, err := keyOf[K](text)
	if err != nil {
		return err
	}
	found := s.get(key)
	if asOf != "" {
		if s.history == nil {
			return badQuery{errors.New("only a versioned store knows what a row was at a time")}
		}
		at, err := momentIn(asOf, 0)
		if err != nil {
			return err
		}
		found = s.asOf(key, at)
	}
	if !found.ok {
		return nil
	}
	row, err := webRowOf(key, found)
	if err == nil {
		visit(row)
	}
	return err
}

func (s *windowState[K, V]) describe() (kind string, key, value reflect.Type) {
	return "window", reflect.TypeFor[K](), reflect.TypeFor[V]()
}

func (s *windowState[K, V]) ask(q webQuery, visit func(webRow) bool) error {
	from, to, err := q.span()
	if err != nil {
		return err
	}
	var rows []windowRow[K, V]
	if q.key == nil {
		rows = s.fetchAll(from, to)
	} else {
		key, err := keyOf[K](*q.key)
		if err != nil {
			return err
		}
		rows = s.fetch(key, from, to)
	}
	for _, r := range rows {
		row, err := webRowOf(r.key, r.row)
		if err != nil {
			return err
		}
		row.Start = momentOf(r.start)
		if !visit(row) {
			return nil
		}
	}
	return nil
}

func (s *sessionState[K, V]) describe() (kind string, key, value reflect.Type) {
	return "session", reflect.TypeFor[K](), reflect.TypeFor[V]()
}

// ask finds the sessions that have a part in the span.
func (s *sessionState[K, V]) ask(q webQuery, visit func(webRow) bool) error {
	from, to, err := q.span()
	if err != nil {
		return err
	}
	var rows []sessionRow[K, V]
	if q.key == nil {
		rows = s.findAll(from, math.MaxInt64)
	} else {
		key, err := keyOf[K](*q.key)
		if err != nil {
			return err
		}
		rows = s.find(key, from, to)
	}
	for _, r := range rows {
		if r.start > to {
			continue
		}
		row, err := webRowOf(r.key, stamped[V]{r.value, NoTime})
		if err != nil {
			return err
		}
		row.Start, row.End = momentOf(r.start), momentOf(r.end)
		if !visit(row) {
			return nil
		}
	}
	return nil
}

// span is the time that windows or sessions are asked for.
func (q webQuery) span() (from, to int64, err error) {
	if from, err = momentIn(q.from, 0); err != nil {
		return 0, 0, err
	}
	to, err = momentIn(q.to, math.MaxInt64)
	return from, to, err
}

// keyOf reads a key as it stands in an address.
func keyOf[K any](text string) (key K, err error) {
	if k, ok := any(&key).(*[]byte); ok {
		*k = []byte(text)
		return key, nil
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return key, err
	}
	if reflect.TypeFor[K]().Kind() == reflect.String {
		return key, json.Unmarshal(quoted, &key)
	}
	if err = json.Unmarshal([]byte(text), &key); err != nil && json.Unmarshal(quoted, &key) == nil {
		err = nil // a type that reads itself from text, such as a time
	}
	if err != nil {
		err = badQuery{fmt.Errorf("the key %s is no %s: %w", text, reflect.TypeFor[K](), err)}
	}
	return key, err
}

// momentIn reads a time, RFC 3339 or milliseconds.
func momentIn(text string, absent int64) (int64, error) {
	if text == "" {
		return absent, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ms, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, badQuery{fmt.Errorf("a time is RFC 3339, as in 2026-01-31T10:00:00Z, or milliseconds since 1970, not %q", text)}
	}
	return at.UnixMilli(), nil
}

func momentOf(ms int64) *time.Time {
	if ms == NoTime {
		return nil
	}
	at := time.UnixMilli(ms).UTC()
	return &at
}

func webRowOf[K, V any](key K, value stamped[V]) (row webRow, err error) {
	if row.Key, err = jsonOf(key); err != nil {
		return row, err
	}
	row.Value, err = jsonOf(value.v)
	row.Time = momentOf(value.time)
	return row, err
}

func jsonOf(v any) (json.RawMessage, error) {
	if m, ok := v.(proto.Message); ok {
		return protojson.Marshal(m)
	}
	return json.Marshal(v)
}

func refuse(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}

func reply(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // who asked may have gone
}
