package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// formatHelp is the part of the help of produce and consume that tells the verbs.
const formatHelp = `  %t  topic              %k  key                %T  timestamp, ms since 1970
  %p  partition          %v  value              %d  timestamp, 2006-01-02T15:04:05.000Z
  %o  offset             %h  headers, a=b,c=d   %%  a percent sign
  %K  length of the key  %V  length of the value
  \n \t \r \0 \\ \xHH    a byte`

// verbs are the letters that a format knows; some that other tools use are named by what they are called here.
const verbs = "tpokvhTdKV"

var otherNames = map[byte]string{'s': "%v is the value", 'S': "%V is the length of the value", 'H': "%h is the headers"}

// piece is a part of a format: literal text, or a verb.
type piece struct {
	verb    byte // 0 for text
	literal []byte
}

// parseFormat reads a format string.
func parseFormat(format string) ([]piece, error) {
	var pieces []piece
	text := func(b ...byte) {
		if n := len(pieces); n > 0 && pieces[n-1].verb == 0 {
			pieces[n-1].literal = append(pieces[n-1].literal, b...)
			return
		}
		pieces = append(pieces, piece{literal: b})
	}
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' && c != '\\' {
			text(c)
			continue
		}
		if i++; i == len(format) {
			return nil, fmt.Errorf("the format ends in a lone %q; %q is that character", string(c), strings.Repeat(string(c), 2))
		}
		switch verb := format[i]; {
		case c == '%' && verb == '%':
			text('%')
		case c == '%' && strings.IndexByte(verbs, verb) >= 0:
			pieces = append(pieces, piece{verb: verb})
		case c == '%':
			hint := otherNames[verb]
			if hint == "" {
				hint = "there are %" + strings.Join(strings.Split(verbs, ""), " %") + " %%"
			}
			return nil, fmt.Errorf("the format has %%%c, which means nothing here: %s", verb, hint)
		default:
			b, used, err := escape(format[i:])
			if err != nil {
				return nil, err
			}
			text(b)
			i += used - 1
		}
	}
	return pieces, nil
}

// escape reads what is behind a backslash.
func escape(s string) (b byte, used int, err error) {
	switch s[0] {
	case 'n':
		return '\n', 1, nil
	case 't':
		return '\t', 1, nil
	case 'r':
		return '\r', 1, nil
	case '0':
		return 0, 1, nil
	case '\\':
		return '\\', 1, nil
	case 'x':
		if len(s) >= 3 {
			if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				return byte(n), 3, nil
			}
		}
		return 0, 0, errors.New(`\x in a format is followed by two hexadecimal digits`)
	}
	return 0, 0, fmt.Errorf(`the format has \%c, which means nothing here: there are \n \t \r \0 \\ \xHH`, s[0])
}

// unescape reads a delimiter, in which backslashes mean what they mean in formats.
func unescape(s string) ([]byte, error) {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		b, used, err := escape(s[i+1:])
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		i += used
	}
	return out, nil
}
