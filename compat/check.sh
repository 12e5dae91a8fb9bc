# What cases say and compare with. Sourced by compat/run.

step() { echo "--- $*"; }

die() {
	echo "FAILED: $*"
	touch "$WORK/failed"
	[ -n "${GO_ON:-}" ] || exit 1
}

# skip REASON: the case is not for this broker or machine.
skip() {
	echo "SKIP: $*"
	exit 77
}

# is GOT WANT [WHAT]
is() { [ "$1" = "$2" ] || die "${3:-it} is '$1' and not '$2'"; }

# has TEXT PATTERN: some line of the text matches the extended regular expression.
has() { grep -qE -- "$2" <<<"$1" || die "no line is like '$2' in:
$1"; }
hasnt() { ! grep -qE -- "$2" <<<"$1" || die "a line is like '$2' in:
$1"; }

# same FILE FILE
same() { cmp "$1" "$2" || die "$1 and $2 differ"; }

# quick FEW MANY: FEW with QUICK=1.
quick() { [ -n "$QUICK" ] && echo "$1" || echo "$2"; }

# text FILE BYTES: a real text of whole lines, at least that long: the sources of Go itself. It has no empty lines, as
# most tools send no record for one.
text() {
	local all=$CACHE/text/all
	if [ ! -s "$all" ]; then
		mkdir -p "$CACHE/text"
		find "$(go env GOROOT)/src" -type f -name '*.go' -size -200k -print0 | LC_ALL=C sort -z | xargs -0 cat | tr -d '\000\r' |
			LC_ALL=C grep -a . >"$all.new"
		mv "$all.new" "$all"
	fi
	while [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -lt "$2" ]; do cat "$all" >>"$1"; done
	head -c "$2" "$1" >"$1.cut"
	tail -c +"$(($2 + 1))" "$1" | sed -n 1p >>"$1.cut"
	mv "$1.cut" "$1"
}
