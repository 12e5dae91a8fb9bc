# goka: its own system tests, from the module as published. It stands on sarama.

GOKA=v1.1.15

# What asks for topics of two replicas, and so for two brokers; compat/SKIPPED.md has the list.
GOKA_SKIP='^(TestAutoCommit|TestUnmarkedMessages|TestEmitter_KafkaDisconnect|TestProcessorShutdown_KafkaDisconnect|TestHotStandby|TestTopicManagerCreate|TestView_Reconnect)$|^TestTopicManager_v11$/^ensure-new-stream$'

case_add goka goka $GOKA quick install_goka goka 400
# The tests start two members at once and look into what the first generation made: they want both in it.
case_settings goka group.initial.rebalance.delay.ms=3000

install_goka() {
	once goka-tests/$GOKA go_module "github.com/lovoo/goka@$GOKA"
	(cd "$CACHE/goka-tests/$GOKA" && go test -c -o "$CACHE/go/goka.test" ./systemtest)
}

goka() {
	cd "$CACHE/goka-tests/$GOKA/systemtest"
	local status=0 ran few='^Test(MultiTopics|CallbackFail|ProcessorVisit|TopicManager_v11)$'
	GOKA_SYSTEMTEST=yes GOKA_SYSTEMTEST_BROKERS=$BOOTSTRAP "$CACHE/go/goka.test" \
		-test.v -test.timeout 380s -test.run "$(quick "$few" .)" -test.skip "$GOKA_SKIP" >"$WORK/out" 2>&1 || status=$?
	grep -E '^ *--- ' "$WORK/out" || true
	[ $status -eq 0 ] || { grep -E -B 20 '^ *--- FAIL|^panic:' "$WORK/out" | tail -n 60; return 1; }
	ran=$(grep -c '^--- PASS' "$WORK/out")
	[ "$ran" -ge "$(quick 4 12)" ] || die "only $ran tests ran"
}
