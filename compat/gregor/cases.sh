# Gregor's own client commands. With AGAINST=kafka they prove that they work against any Kafka.

case_add gregor gregor - quick install_gregor gregor_round 120

install_gregor() { [ -n "${BIN:-}" ] || [ -x "$ROOT/bin/gregor" ] || make -s -C "$ROOT" build; }
gregor() { GREGOR_BOOTSTRAP=$BOOTSTRAPS "${BIN:-$ROOT/bin/gregor}" "$@"; }

gregor_round() {
	gregor version | awk 'NR == 1 { print $2 }' >"$WORK/version"
	local codec
	text text "$(quick 2000000 20000000)"
	for codec in none gzip snappy lz4 zstd; do
		step "$codec, there and back"
		gregor topic create "text-$codec" -p 1
		gregor produce "text-$codec" -z $codec <text
		gregor consume "text-$codec" -e >back
		same text back
	done

	step "keys, headers, null values, a partition"
	gregor topic create people -p 3
	printf 'ann\t1\tfrom=here\nbob\t\tfrom=there\n' | gregor produce people -p 2 -Z -f '%k\t%v\t%h\n'
	is "$(gregor consume people -e -f '%p %o %k=%v %h\n' --null-value NULL)" "2 0 ann=1 from=here
2 1 bob=NULL from=there"
	gregor consume people -e -o json | gregor produce people --json
	is "$(gregor consume people -e -f '%k\n' | sort | paste -sd' ')" "ann ann bob bob"

	step "a group, its lag and its reset"
	gregor consume text-lz4 -g readers -n 10 >part
	same part <(head -n 10 text)
	has "$(gregor group list)" '^readers +Empty +consumer'
	has "$(gregor group describe readers)" "^text-lz4 +0 +10 +$(wc -l <text) "
	has "$(gregor group reset readers --to 5)" '^text-lz4 +0 +10 +5 +-5'
	is "$(gregor consume text-lz4 -g readers -n 1)" "$(sed -n 6p text)"
	gregor group delete readers
	hasnt "$(gregor group list)" readers

	step "settings, the cluster, and the end of a topic"
	gregor config set --topic people retention.ms=3600000
	has "$(gregor config get --topic people retention.ms)" '3600000 +topic'
	gregor topic alter people -p 5
	has "$(gregor topic describe people)" '^partitions +5$'
	has "$(gregor cluster describe)" "^ +0 +$BOOTSTRAP"
	gregor topic delete people
	hasnt "$(gregor topic list)" people
	has "$(gregor consume people -e 2>&1 || true)" 'there is no topic "people"'
	gregor bench produce --records 20000 --size 100 >/dev/null
}
