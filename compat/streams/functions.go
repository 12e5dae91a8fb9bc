package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// The functions of topologies, by the names that they have in a Spec. Functions.java has the same. Values are pointers, so that
// functions see nulls as Java's do.

type str = *string

func s(v string) str { return &v }

// plus is how Java adds strings: null is "null".
func plus(parts ...any) str {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case str:
			if p == nil {
				b.WriteString("null")
			} else {
				b.WriteString(*p)
			}
		default:
			fmt.Fprint(&b, p)
		}
	}
	return s(b.String())
}

// hash is String.hashCode.
func hash(v string) (h int32) {
	for _, c := range utf16.Encode([]rune(v)) {
		h = 31*h + int32(c)
	}
	return h
}

func modulo(v string, n int32) int32 { return (hash(v)%n + n) % n }

var predicates = map[string]func(k, v str) bool{
	"even":  func(_, v str) bool { return v != nil && modulo(*v, 2) == 0 },
	"third": func(_, v str) bool { return v != nil && modulo(*v, 3) != 0 },
	"full":  func(_, v str) bool { return v != nil },
	"empty": func(_, v str) bool { return v == nil },
	"keyed": func(k, _ str) bool { return k != nil },
}

var mappers = map[string]func(v str) str{
	"upper": func(v str) str {
		if v == nil {
			return nil
		}
		return s(strings.ToUpper(*v))
	},
	"mark": func(v str) str { return plus(v, ".") },
	"drop3": func(v str) str {
		if v == nil || strings.HasSuffix(*v, "3") {
			return nil
		}
		return v
	},
	"length": func(v str) str {
		if v == nil {
			return s("0")
		}
		return plus((*v)[:1], len(*v))
	},
}

var keyMappers = map[string]func(k, v str) str{
	"same": func(k, _ str) str { return k },
	"bucket": func(_, v str) str {
		if v == nil {
			return s("n")
		}
		return plus("k", modulo(*v, 4))
	},
	"orNull": func(_, v str) str {
		if v == nil {
			return nil
		}
		return plus("k", modulo(*v, 3))
	},
	"value": func(k, v str) str {
		if v == nil {
			return k
		}
		return v
	},
}

// foreign finds the key of another table in a value; some have none.
func foreign(_, v str) (str, bool) {
	n := modulo(*v, 5)
	if n == 4 {
		return nil, false
	}
	return s("abcd"[n : n+1]), true
}

// aggregation is an aggregate's start, and what adds a value to it and takes one away. Those whose name begins with "sum" come
// to the same in any order.
type aggregation struct {
	init          func() str
	add, subtract func(k, v, a str) str
}

func counting(sign int64) func(k, v, a str) str {
	return func(_, v, a str) str {
		n, err := strconv.ParseInt(*a, 10, 64)
		if err != nil {
			panic(err)
		}
		return s(strconv.FormatInt(n+sign*int64(hash(*v)), 10))
	}
}

var aggregations = map[string]aggregation{
	"list": {func() str { return s("") }, func(_, v, a str) str { return plus(a, "|", v) }, func(_, v, a str) str { return plus(a, "-", v) }},
	"sum":  {func() str { return s("0") }, counting(1), counting(-1)},
	"some": {func() str { return s("") }, func(_, v, a str) str { // deletes its row now and then
		if v != nil && modulo(*v, 6) == 0 {
			return nil
		}
		return plus(a, "|", v)
	}, func(_, v, a str) str { return plus(a, "-", v) }},
}

func reduce(a, v str) str               { return plus(a, "+", v) }
func unreduce(a, v str) str             { return plus(a, "-", v) }
func mergeSessions(_ str, x, y str) str { return plus("(", x, "&", y, ")") }
func joined(_ str, a, b str) str        { return plus(a, "+", b) }
func leftJoined(k, a str, b *str) str   { return joined(k, a, missing(b)) }
func outerJoined(k str, a, b *str) str  { return joined(k, missing(a), missing(b)) }
func text(n int64) str                  { return s(strconv.FormatInt(n, 10)) }
func countText[K any](_ K, n int64) str { return text(n) }
func cogroupAdd(mark string) func(_, v, a str) str {
	return func(_, v, a str) str { return plus(a, "|", mark, v) }
}

func missing(p *str) str {
	if p == nil {
		return nil
	}
	return *p
}
