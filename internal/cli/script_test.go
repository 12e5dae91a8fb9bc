package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/gregortest"
)

var rewrite = flag.Bool("rewrite", false, "write what commands print into testdata")

// A script is commands and what they print, each with a broker of its own:
//
//	$ topic create words         a command line, with '…' and "…" as in a shell
//	< text                       a line of standard input; the last one has no newline
//	created topic words          standard output
//	! gregor: …                  standard error
//	= 1                          the exit status, if it is not 0
//
// What differs from run to run is replaced, and a broker's data folder is DIR in command lines of a script that begins with
// "# on disk".
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal(err, "no scripts")
	}
	for _, name := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) { runScript(t, name) })
	}
}

func runScript(t *testing.T, name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := "/nowhere"
	var options []gregortest.Option
	if bytes.HasPrefix(text, []byte("# on disk")) {
		dir = t.TempDir()
		options = append(options, gregortest.OnDisk(dir))
	}
	broker := gregortest.Start(t, options...)
	t.Setenv("GREGOR_BOOTSTRAP", broker.Addr())
	var out strings.Builder
	for _, block := range blocks(string(text)) {
		if block.command == "" {
			out.WriteString(block.comment)
			continue
		}
		fmt.Fprintf(&out, "%s$ %s\n", block.comment, block.command)
		for _, line := range block.input {
			out.WriteString(strings.TrimSuffix("< "+line, "< ") + map[bool]string{true: "<"}[line == ""] + "\n")
		}
		got := run(strings.Join(block.input, "\n"), words(t, strings.ReplaceAll(block.command, "DIR", dir))...)
		out.WriteString(settle(got.text(), broker.Addr(), dir))
	}
	if out.String() == string(text) {
		return
	}
	if *rewrite {
		if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s: go test -rewrite writes what is printed now:\n%s", name, differing(string(text), out.String()))
}

// differing is the lines of got that stand elsewhere or not at all in want.
func differing(want, got string) string {
	var b strings.Builder
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(wants), len(gots)) {
		w, g := "", ""
		if i < len(wants) {
			w = wants[i]
		}
		if i < len(gots) {
			g = gots[i]
		}
		if w != g {
			fmt.Fprintf(&b, "line %d\n  want %s\n  got  %s\n", i+1, w, g)
		}
	}
	return b.String()
}

type block struct {
	comment, command string
	input            []string
}

func blocks(text string) []block {
	all, apart := []block{{}}, true // a comment stands at the start or behind an empty line
	for line := range strings.Lines(text) {
		last := &all[len(all)-1]
		switch bare := strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "$ "):
			last.command = bare[2:]
			all = append(all, block{})
		case strings.HasPrefix(line, "<") && len(all) > 1:
			all[len(all)-2].input = append(all[len(all)-2].input, strings.TrimPrefix(bare[1:], " "))
		case strings.HasPrefix(line, "#") && apart:
			last.comment += line
			continue
		}
		apart = line == "\n"
	}
	return all
}

// words splits a command line.
func words(t *testing.T, line string) (all []string) {
	var word strings.Builder
	quote, began := rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, began = r, true
		case quote == 0 && r == ' ':
			if began {
				all = append(all, word.String())
			}
			word.Reset()
			began = false
		default:
			word.WriteRune(r)
			began = true
		}
	}
	if quote != 0 {
		t.Fatalf("%s: a quote is open", line)
	}
	return all
}

type result struct {
	status         int
	stdout, stderr string
}

func run(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	status := Main(args, strings.NewReader(stdin), &stdout, &stderr)
	return result{status, stdout.String(), stderr.String()}
}

func (r result) text() string {
	var b strings.Builder
	b.WriteString(r.stdout)
	if r.stdout != "" && !strings.HasSuffix(r.stdout, "\n") {
		b.WriteString("<no newline>\n")
	}
	for line := range strings.Lines(r.stderr) {
		b.WriteString("! " + line)
	}
	if r.status != 0 {
		fmt.Fprintf(&b, "= %d\n", r.status)
	}
	b.WriteString("\n")
	return b.String()
}

var changing = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "<time>"},
	{regexp.MustCompile(`\b1[78]\d{11}\b`), "<ms>"},
	{regexp.MustCompile(`\bgregor-[0-9a-f-]{36}\b`), "<member>"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "<id>"},
	{regexp.MustCompile(`\blevel=\d+`), "level=<level>"},
	{regexp.MustCompile(`(^|[\s"=])[A-Za-z0-9_-]{22}($|[\s",])`), "${1}<uuid>${2}"},
}

// settle replaces what differs from run to run.
func settle(text, addr, dir string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, addr, "<address>"), dir, "DIR")
	_, port, _ := strings.Cut(addr, ":")
	text = strings.ReplaceAll(text, `"port": `+port, `"port": <port>`)
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.text)
	}
	return text
}
