package arch

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// A range over a map runs in another order each time, so in a pure room each one must say that its order cannot matter.
func TestMapRangesInPureRoomsSayThatOrderDoesNotMatter(t *testing.T) {
	byRoom := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test && !slices.Contains(edges, s.room) && !slices.Contains(outside, s.room) && lineOf(s.room) >= 0 {
			byRoom[s.room] = append(byRoom[s.room], s)
		}
	}
	for _, files := range byRoom { // any order
		checkMapRanges(t, files)
	}
}

func checkMapRanges(t *testing.T, room []source) {
	fset := token.NewFileSet()
	var files []*ast.File
	var all []source
	for _, s := range room {
		file, err := parseInto(fset, s)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
		all = append(all, s)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	// Imports are left unresolved: a field or call from another package then has no type here and is not judged. What a
	// room ranges over is nearly always a map of its own, and that is what this sees.
	conf := types.Config{Importer: importer.Default(), Error: func(error) {}, DisableUnusedImportCheck: true}
	_, _ = conf.Check(room[0].room, fset, files, info)
	for i, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			r, ok := n.(*ast.RangeStmt)
			if !ok {
				return true
			}
			tv, ok := info.Types[r.X]
			if !ok || tv.Type == nil {
				return true
			}
			if _, isMap := tv.Type.Underlying().(*types.Map); !isMap {
				return true
			}
			line := fset.Position(r.Pos()).Line
			if !strings.Contains(all[i].lines[line-1], "// any order") {
				t.Errorf("%s:%d: range over a map: sort the keys, or say // any order", all[i].path, line)
			}
			return true
		})
	}
}

func parseInto(fset *token.FileSet, s source) (*ast.File, error) {
	return parser.ParseFile(fset, s.path, strings.Join(s.lines, "\n"), parser.ParseComments)
}
