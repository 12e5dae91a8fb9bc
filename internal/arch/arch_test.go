package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gregorhq/gregor/"

// lines are the floors of the house, lowest first. A room imports only rooms on lower lines.
var lines = [][]string{
	{"kafka", "must", "loop", "vfs", "metrics"},
	{"wire", "record", "config", "quota", "authn", "placement"},
	{"storage", "metadata", "statemachine", "server", "peer", "sim"},
	{"tier", "raft", "authz", "group", "txn", "share"},
	{"replica", "controller"},
	{"api"},
	{"node"},
	{"console", "schemaregistry", "streams", "connect", "trial"},
	{"daemon", "connectworker"},
	{"cli", "gregortest"},
	{"cmd"},
}

// outside stands beside the house: it drives built binaries or only clients, and no room imports it.
var outside = []string{"arch", "compat", "bench", "chaos", "examples", "scripts"}

// edges may touch the world: goroutines, channels, clocks, chance, files, sockets.
var edges = []string{"loop", "vfs", "server", "peer", "streams", "connect", "console", "schemaregistry",
	"connectworker", "daemon", "cli", "gregortest", "cmd"}

// worldly packages are for edges only. Pure rooms may name types of some of them through the edges' interfaces.
var worldly = []string{"net", "os", "os/signal", "os/exec", "syscall", "crypto/rand", "net/http", "io/ioutil"}

// vendorHomes says which rooms may import a library that the house confines.
var vendorHomes = map[string][]string{
	"github.com/cockroachdb/pebble/v2":  {"streams"},
	"go.etcd.io/raft/v3":                {"raft"},
	"golang.org/x/sys":                  {"vfs", "server", "daemon"},
	"github.com/spf13/cobra":            {"cli"},
	"github.com/prometheus/":            {"metrics", "daemon", "streams"},
	"github.com/klauspost/compress":     {"record"},
	"github.com/pierrec/lz4":            {"record"},
	"github.com/hanwen/go-fuse/":        {"chaos"},
	"github.com/twmb/franz-go/pkg/kgo":  {"cli", "streams", "connect", "console", "schemaregistry", "connectworker", "gregortest"},
	"github.com/twmb/franz-go/pkg/kadm": {"cli", "streams", "connect", "console", "schemaregistry", "connectworker", "gregortest"},
}

type source struct {
	room, path string
	test       bool
	file       *ast.File
	lines      []string
	fset       *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || hasGoMod(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{roomOf(rel), rel, strings.HasSuffix(path, "_test.go"), file, strings.Split(string(text), "\n"), fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d Go files: the test looks in the wrong place", len(all))
	}
	return all
}

func hasGoMod(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func roomOf(rel string) string {
	parts := strings.Split(rel, "/")
	if parts[0] == "internal" && len(parts) > 2 {
		return parts[1]
	}
	if len(parts) == 1 {
		return "root"
	}
	return parts[0]
}

func lineOf(room string) int {
	for i, rooms := range lines {
		if slices.Contains(rooms, room) {
			return i
		}
	}
	return -1
}

func TestEveryRoomStandsOnItsLine(t *testing.T) {
	for _, s := range sources(t) {
		if lineOf(s.room) < 0 && !slices.Contains(outside, s.room) {
			t.Errorf("%s: room %q is on no line of the house: add it to arch_test.go where it belongs", s.path, s.room)
		}
	}
}

func TestRoomsImportOnlyLowerLines(t *testing.T) {
	for _, s := range sources(t) {
		mine := lineOf(s.room)
		if mine < 0 || s.test {
			continue // tests may look sideways: what ships may not
		}
		for _, spec := range s.file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if !strings.HasPrefix(path, module) {
				continue
			}
			other := roomOf(strings.TrimPrefix(path, module) + "/x.go")
			if other != s.room && lineOf(other) >= mine {
				t.Errorf("%s: %s (line %d) imports %s (line %d); a room imports only lower lines", s.path, s.room, mine, other, lineOf(other))
			}
		}
	}
}

func TestLibrariesStayInTheirRooms(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || slices.Contains(outside, s.room) {
			continue
		}
		for _, spec := range s.file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			for library, homes := range vendorHomes { // any order
				if strings.HasPrefix(path, library) && !slices.Contains(homes, s.room) {
					t.Errorf("%s imports %s, which only %v may", s.path, path, homes)
				}
			}
		}
	}
}

func TestOnlyEdgesTouchTheWorld(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || slices.Contains(edges, s.room) || slices.Contains(outside, s.room) || lineOf(s.room) < 0 {
			continue
		}
		checkPure(t, s)
	}
}

func checkPure(t *testing.T, s source) {
	at := func(n ast.Node) string {
		return s.path + ":" + itoa(s.fset.Position(n.Pos()).Line)
	}
	for _, spec := range s.file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if slices.Contains(worldly, path) {
			t.Errorf("%s: a pure room imports %s", at(spec), path)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: go statement in a pure room", at(n))
		case *ast.ChanType:
			t.Errorf("%s: channel in a pure room", at(n))
		case *ast.SendStmt:
			t.Errorf("%s: channel send in a pure room", at(n))
		case *ast.SelectStmt:
			t.Errorf("%s: select in a pure room", at(n))
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				t.Errorf("%s: init in a pure room", at(n))
			}
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && pkg.Obj == nil {
				checkSelector(t, at(n), s, pkg.Name, n.Sel.Name)
			}
		}
		return true
	})
}

func checkSelector(t *testing.T, where string, s source, pkg, name string) {
	if pkg == "time" && imports(s, "time") && slices.Contains([]string{"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Since", "Until"}, name) {
		t.Errorf("%s: time.%s in a pure room: ask the loop.Runtime", where, name)
	}
	if pkg == "rand" && (imports(s, "math/rand") || imports(s, "math/rand/v2")) &&
		!slices.Contains([]string{"New", "NewSource", "NewPCG", "Rand", "Source", "Zipf", "NewZipf", "PCG"}, name) {
		t.Errorf("%s: global rand.%s in a pure room: ask the loop.Runtime", where, name)
	}
}

func imports(s source, path string) bool {
	return slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool { return strings.Trim(spec.Path.Value, `"`) == path })
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
