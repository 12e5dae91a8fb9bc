package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpServer serves metrics, health and profiles. The nil one serves nothing.
type httpServer struct {
	server   *http.Server
	listener net.Listener
}

func (d *Daemon) serveHTTP(address string) error {
	if address == "off" {
		return nil
	}
	chosen := address != ""
	if !chosen {
		address = DefaultHTTP
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		if !chosen && errors.Is(err, syscall.EADDRINUSE) {
			d.logger.Info("no metrics and health over HTTP: the default address is taken; --http HOST:PORT chooses another", "address", address)
			return nil
		}
		return fmt.Errorf("cannot serve HTTP: %w", err)
	}
	d.http = &httpServer{listener: l, server: &http.Server{Handler: d.handler(isLoopback(l.Addr())), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}}
	go func() { _ = d.http.server.Serve(l) }()
	return nil
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// handler serves profiles only where nobody from outside can ask for them.
func (d *Daemon) handler(loopback bool) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newCollector(d))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.node.Directory().Failed(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-d.ready:
			_, _ = fmt.Fprintln(w, "ready")
		default:
			http.Error(w, "starting", http.StatusServiceUnavailable)
		}
	})
	if loopback {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (h *httpServer) address() string {
	if h == nil {
		return "off"
	}
	return h.listener.Addr().String()
}

func (h *httpServer) close() {
	if h != nil {
		_ = h.server.Close()
	}
}
