package daemon

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/metadata"
	"github.com/gregorhq/gregor/internal/node"
	"github.com/gregorhq/gregor/internal/peer"
)

// DefaultHTTP is where metrics, health and profiles are served unless somebody says otherwise.
const DefaultHTTP = "127.0.0.1:9464"

// Options are what a process is told at start. What is set in one place wins over the same in the next: Set, the flags
// that have fields of their own, the environment, the file.
type Options struct {
	DataDir   string
	Listen    []string // HOST:PORT or NAME://HOST:PORT
	Advertise []string // HOST:PORT for every listener, or NAME://HOST:PORT
	HTTP      string   // "" for the default, "off" for none
	NodeID    int      // -1: not set
	Join      []string // HOST:PORT of nodes of the cluster to join
	File      string   // a Kafka server.properties
	Set       []string // key=value
	Environ   []string // as os.Environ gives it
}

// Resolve gathers what was set into one set of keys, checked. Notices are about keys that have no effect.
func (o Options) Resolve() (static config.Static, notices []string, err error) {
	static = config.Static{}
	from := map[string]string{} // where keys were set, of those that a person may have misspelt
	if o.File != "" {
		text, err := os.ReadFile(o.File)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		if static, err = config.ParseProperties(string(text)); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", o.File, err)
		}
		for key := range static { // any order
			from[key] = o.File + ": "
		}
	}
	for _, variable := range o.Environ {
		name, value, _ := strings.Cut(variable, "=")
		key, ours := config.EnvironmentKey(name)
		if !ours {
			continue
		}
		if config.BrokerKey(key) != nil {
			static[key], from[key] = value, name+": "
		} else if near := config.Nearest(key, config.BrokerKeys()); near != "" {
			// No error: Kubernetes sets GREGOR_PORT and more of the kind where a service is called gregor.
			notices = append(notices, fmt.Sprintf("%s names no configuration and has no effect: the nearest is %s.", name, near))
		}
	}
	if o.DataDir != "" {
		static["log.dirs"] = o.DataDir
	}
	if len(o.Listen) > 0 {
		static["listeners"] = strings.Join(o.Listen, ",")
	}
	if len(o.Advertise) > 0 {
		static["advertised.listeners"] = strings.Join(o.Advertise, ",")
	}
	if o.NodeID >= 0 {
		static["node.id"] = strconv.Itoa(o.NodeID)
	}
	if len(o.Join) > 0 {
		static["join"] = strings.Join(o.Join, ",")
	}
	for _, pair := range o.Set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, nil, fmt.Errorf("--set wants key=value and not %q", pair)
		}
		key = strings.TrimSpace(key)
		static[key], from[key] = value, "--set "+pair+": "
	}
	more, err := static.Check()
	if err != nil {
		err = blame(static, from, err)
	}
	return static, append(notices, more...), err
}

// blame says where the setting stands that is wrong.
func blame(static config.Static, from map[string]string, wrong error) error {
	for _, key := range slices.Sorted(maps.Keys(static)) {
		if _, err := (config.Static{key: static[key]}).Check(); err != nil {
			return fmt.Errorf("%s%w", from[key], err)
		}
	}
	return wrong
}

// dataDir is the folder that a configuration names, or the usual place.
func dataDir(l config.Layers) (string, error) {
	switch dirs := l.List("log.dirs"); len(dirs) {
	case 0:
	case 1:
		return filepath.Abs(dirs[0])
	default:
		return "", fmt.Errorf("log.dirs names %d folders: only one is supported", len(dirs))
	}
	if base := os.Getenv("XDG_DATA_HOME"); base != "" {
		return filepath.Join(base, "gregor"), nil
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "gregor"), nil
	}
	return filepath.Abs("gregor-data")
}

// seeds are the nodes that a configuration tells to join, other than this one.
func seeds(l config.Layers, self []metadata.Endpoint) ([]peer.Address, error) {
	var all []peer.Address
	for _, text := range l.List("join") {
		a, err := node.ParseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("join: %w", err)
		}
		if !slices.ContainsFunc(self, func(e metadata.Endpoint) bool { return e.Host == a.Host && e.Port == a.Port }) {
			all = append(all, a)
		}
	}
	return all, nil
}

// listener is one address to listen on.
type listener struct {
	name string
	host string
	port int
}

const plaintext = "PLAINTEXT"

// parseAddress reads NAME://HOST:PORT or HOST:PORT.
func parseAddress(text string) (l listener, named bool, err error) {
	name, rest, named := strings.Cut(strings.TrimSpace(text), "://")
	if !named {
		name, rest = plaintext, name
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return l, named, fmt.Errorf("%q is not HOST:PORT", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return l, named, fmt.Errorf("%q has no port from 0 to 65535", text)
	}
	return listener{strings.ToUpper(name), host, int(n)}, named, nil
}

// listeners are the addresses that a configuration asks for. Those of controllers are not needed.
func listeners(l config.Layers) ([]listener, error) {
	protocols := map[string]string{}
	for _, pair := range config.SplitList(l.String("listener.security.protocol.map")) {
		name, protocol, _ := strings.Cut(pair, ":")
		protocols[strings.ToUpper(name)] = strings.ToUpper(protocol)
	}
	var all []listener
	for _, text := range l.List("listeners") {
		one, _, err := parseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("listeners: %w", err)
		}
		if slices.ContainsFunc(l.List("controller.listener.names"), func(name string) bool { return strings.EqualFold(name, one.name) }) {
			continue
		}
		if protocol, ok := protocols[one.name]; !ok || protocol != plaintext {
			return nil, fmt.Errorf("listeners: %q asks for %s, and only PLAINTEXT is supported so far; other names are mapped to it with listener.security.protocol.map", text, max(protocol, one.name))
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("listeners: there is no address to listen on")
	}
	return all, nil
}

// advertised maps listener names to what clients are told, with "" for all.
func advertised(l config.Layers) (map[string]listener, error) {
	all := map[string]listener{}
	for _, text := range l.List("advertised.listeners") {
		one, named, err := parseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("advertised.listeners: %w", err)
		}
		if one.host == "" || one.host == "0.0.0.0" || one.host == "::" {
			return nil, fmt.Errorf("advertised.listeners: %q is no address that a client can connect to", text)
		}
		if !named {
			one.name = ""
		}
		all[one.name] = one
	}
	return all, nil
}
