package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/server"
	"github.com/gregorhq/gregor/internal/vfs"
)

func begin(t *testing.T, c Config) *Daemon {
	t.Helper()
	if c.Static == nil {
		c.Static = config.Static{"listeners": "127.0.0.1:0"}
	}
	c.HTTP = "off"
	d, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func produce(t *testing.T, d *Daemon) error {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(d.Addresses()[0].String()), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"),
		kgo.RecordDeliveryTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return client.ProduceSync(ctx, kgo.StringRecord("v")).FirstErr()
}

func health(d *Daemon) int {
	w := httptest.NewRecorder()
	d.handler(true).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	return w.Code
}

func TestANodeWhoseDiskFailsAcknowledgesNothingAndEnds(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMemory())
	d := begin(t, Config{FS: disk, Dir: "/data"})
	if err := produce(t, d); err != nil {
		t.Fatal(err)
	}
	if code := health(d); code != http.StatusOK {
		t.Errorf("a healthy node answers %d", code)
	}
	disk.Add(vfs.Rule{Op: "sync", Name: "*.log", Err: errors.New("input/output error")})
	if err := produce(t, d); err == nil {
		t.Error("a record was acknowledged that the disk did not take")
	}
	select {
	case err := <-d.Failed():
		if !strings.Contains(err.Error(), "/data/logs") || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("what failed is not in %q", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the node goes on without its disk")
	}
	if code := health(d); code != http.StatusServiceUnavailable {
		t.Errorf("a node without its disk answers %d", code)
	}
	if err := d.Close(); err == nil {
		t.Error("that was no clean shutdown")
	}
}

func TestAPortOrAFolderIsForOneNode(t *testing.T) {
	disk := vfs.NewMemory()
	first := begin(t, Config{FS: disk, Dir: "/data"})
	_, err := Start(Config{FS: vfs.NewMemory(), Dir: "/other", HTTP: "off", Static: config.Static{"listeners": first.Addresses()[0].String()}})
	if err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("the same port: %v", err)
	}
	_, err = Start(Config{FS: disk, Dir: "/data", HTTP: "off", Static: config.Static{"listeners": "127.0.0.1:0"}})
	if err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("the same folder: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := begin(t, Config{FS: disk, Dir: "/data"})
	if err := produce(t, second); err != nil {
		t.Error(err)
	}
}

func TestClientsAreToldWhereTheyCameInUnlessSomethingElseIsSet(t *testing.T) {
	for text, want := range map[string]string{"": "10.0.0.7", "example.org:1": "example.org", "OUT://example.org:1": "10.0.0.7", "IN://in.example.org:1": "in.example.org"} {
		all, err := advertised(layersOf(config.Static{"advertised.listeners": text}))
		if err != nil {
			t.Fatal(err)
		}
		d := &Daemon{advertised: all}
		if host, _ := d.advertise(server.Peer{Listener: "IN", LocalHost: "10.0.0.7", LocalPort: 9092}); host != want {
			t.Errorf("%q: clients are told %s, not %s", text, host, want)
		}
	}
}
