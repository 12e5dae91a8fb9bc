# goka: its own system tests, from the module as published. It stands on sarama.

GOKA=v1.1.15

# What makes topics of two replicas has a case of its own, on three nodes.
GOKA_REPLICAS='^(TestAutoCommit|TestUnmarkedMessages|TestEmitter_KafkaDisconnect|TestProcessorShutdown_KafkaDisconnect|TestHotStandby|TestTopicManagerCreate|TestView_Reconnect)$'
# compat/SKIPPED.md has the reason.
GOKA_SKIP='^TestTopicManager_v11$/^ensure-new-stream$'

case_add goka goka $GOKA quick install_goka goka_alone 400
case_add goka-cluster goka $GOKA full install_goka goka_cluster 300
case_nodes goka-cluster 3
# The tests start two members at once and look into what the first generation made: they want both in it.
case_settings goka group.initial.rebalance.delay.ms=3000
case_settings goka-cluster group.initial.rebalance.delay.ms=3000

install_goka() {
	once goka-tests/$GOKA go_module "github.com/lovoo/goka@$GOKA"
	(cd "$CACHE/goka-tests/$GOKA" && go test -c -o "$CACHE/go/goka.test" ./systemtest)
}

goka_alone() { goka "$(quick 4 12)" -test.run "$(quick '^Test(MultiTopics|CallbackFail|ProcessorVisit|TopicManager_v11)$' .)" -test.skip "$GOKA_SKIP|$GOKA_REPLICAS"; }

goka_cluster() {
	[ "$AGAINST" = gregor ] || skip "only of Gregor several nodes are started"
	goka 7 -test.run "$GOKA_REPLICAS"
}

# goka LEAST FLAG…: at least so many tests pass, and none fails.
goka() {
	local least=$1 status=0 ran
	shift
	cd "$CACHE/goka-tests/$GOKA/systemtest"
	GOKA_SYSTEMTEST=yes GOKA_SYSTEMTEST_BROKERS=$BOOTSTRAP "$CACHE/go/goka.test" -test.v -test.timeout 380s "$@" >"$WORK/out" 2>&1 || status=$?
	grep -E '^ *--- ' "$WORK/out" || true
	[ $status -eq 0 ] || { grep -E -B 20 '^ *--- FAIL|^panic:' "$WORK/out" | tail -n 60; return 1; }
	ran=$(grep -c '^--- PASS' "$WORK/out")
	[ "$ran" -ge "$least" ] || die "only $ran tests ran"
}
