# kafka-go: its own tests, from the module as published, and a program of ours.

KAFKA_GO=v0.4.51

# What its tests need that a node does not have yet, or that they get wrong; compat/SKIPPED.md has the reasons. What is
# below a test is skipped in a run of that test.
KAFKA_GO_SKIP='SASL|TLS|ACLs|ClientQuotas|Scram|^TestClientFindCoordinator$|^TestReaderReadCompactedMessage$'
KAFKA_GO_BELOW='TestConn/^nettest
TestReaderConsumerGroup/^(verify_offset_committed|consumer_group_commits_on_close|consumer_group_rebalance$)
TestWriter/SASL'

case_add kafka-go kafka-go $KAFKA_GO quick install_kafka_go kafka_go 180
case_add kafka-go-tests kafka-go $KAFKA_GO full install_kafka_go_tests kafka_go_tests 500

install_kafka_go() { go_program kafka-go; }
kafka_go() { "$CACHE/go/kafka-go" "$BOOTSTRAP"; }

install_kafka_go_tests() { once kafka-go-tests/$KAFKA_GO go_module "github.com/segmentio/kafka-go@$KAFKA_GO"; }

# Its tests want a broker at localhost:9092 with the id 1: they and it live in a network of their own.
kafka_go_tests() {
	[ "$AGAINST" = gregor ] || skip "only a node of Gregor's is started in a network of its own"
	{ unshare -n true && command -v ip; } >/dev/null 2>&1 || skip "making a network namespace is not possible here"
	# Its go.mod lacks indirect dependencies: -mod=mod adds them to the copy.
	(cd "$CACHE/kafka-go-tests/$KAFKA_GO" && go test -mod=mod -c -o "$WORK/test" .)
	export KAFKA_GO_SKIP KAFKA_GO_BELOW KAFKA_GO
	unshare -n bash -c '
		ip link set lo up
		FIRST_ID=1 PORTS=9092 ADVERTISED=localhost:9092 DIR=$WORK/data CONFIG=message.max.bytes=200000000 "$ROOT/scripts/start-cluster" >"$WORK/broker.log" 2>&1 &
		broker=$!
		trap "kill $broker; wait $broker" EXIT
		for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/9092) 2>/dev/null && break; sleep 0.1; done
		cd "$CACHE/kafka-go-tests/$KAFKA_GO"
		run() { KAFKA_VERSION=3.7.0 "$WORK/test" -test.v -test.timeout 400s "$@" >>"$WORK/out" 2>&1 || status=1; }
		status=0 above=
		while read -r below; do
			run -test.run "^${below%%/*}$" -test.skip "^${below%%/*}$/${below#*/}"
			above="$above|^${below%%/*}$"
		done <<<"$KAFKA_GO_BELOW"
		run -test.skip "$KAFKA_GO_SKIP$above"
		exit $status
	' || { grep -E -B 6 '^ *--- FAIL|^panic:' "$WORK/out" | tail -n 60; return 1; }
	[ "$(grep -c '^--- PASS' "$WORK/out")" -ge 120 ] || die "only some tests ran"
}
