package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table is lines for people: columns are as wide as they must be, numbers stand right, and there are no borders.
type table struct {
	header []string
	rows   [][]string
}

func newTable(header ...string) *table { return &table{header: header} }

// add adds a row. Numbers, and lists of them, are written as people expect them; what is not there is "-".
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.rows = append(t.rows, row)
}

func cell(c any) string {
	text := ""
	switch c := c.(type) {
	case []int32:
		text = numbers(c)
	case bool:
		text = map[bool]string{true: "yes", false: "no"}[c]
	case *int64:
		if c != nil {
			text = strconv.FormatInt(*c, 10)
		}
	case *string:
		if c != nil {
			text = *c
		}
	default:
		text = fmt.Sprint(c)
	}
	if text == "" {
		return "-"
	}
	return strings.Map(printable, text)
}

// printable keeps a stranger's text from moving the cursor or breaking a line of a table.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '·'
	}
	return r
}

func numbers(list []int32) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(int(n))
	}
	return strings.Join(words, ",")
}

func (t *table) write(w io.Writer) error {
	width, right := make([]int, len(t.header)), make([]bool, len(t.header))
	for i, h := range t.header {
		width[i], right[i] = len(h), false
		text := false
		for _, row := range t.rows {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
			right[i] = right[i] || isNumber(row[i])
			text = text || row[i] != "-" && !isNumber(row[i])
		}
		right[i] = right[i] && !text
	}
	var b strings.Builder
	for _, row := range append([][]string{t.header}, t.rows...) {
		line := ""
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if right[i] {
				line += pad + c + "  "
			} else {
				line += c + pad + "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// isNumber reports whether a cell is a number, with or without a unit; a list is none.
func isNumber(c string) bool {
	number, _, _ := strings.Cut(c, " ")
	_, err := strconv.ParseFloat(number, 64)
	return err == nil
}

// writeJSON writes one value for scripts.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), 0
	for value >= 1024 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + "BKMGT"[unit:unit+1] + "iB"
}

// countText is a number with its thousands apart.
func countText(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is "1 partition", "2 partitions".
func plural[N int | int32 | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return countText(int64(n)) + " " + what + "s"
}

// isTerminal reports whether people look at a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
