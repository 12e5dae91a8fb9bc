# franz-go: its own tests, from the module as published, and a program of ours.

FRANZ_KGO=v1.22.2
FRANZ_KADM=v1.19.0

# What the tests need that a node does not have yet; compat/SKIPPED.md has the reasons. Tests of share groups, of the new
# group protocol and of SCRAM skip themselves.
FRANZ_SKIP='^TestTxnEtl$'

case_add franz-go franz-go $FRANZ_KGO quick install_franz_go franz_go_program
case_add franz-go-kgo franz-go $FRANZ_KGO quick install_franz_tests franz_kgo 900
case_add franz-go-cluster franz-go $FRANZ_KGO full install_franz_go franz_go_program
case_nodes franz-go-cluster 3
case_add franz-go-kgo-cluster franz-go $FRANZ_KGO full install_franz_tests franz_kgo_cluster 900
case_nodes franz-go-kgo-cluster 3
case_add franz-go-kadm franz-go/kadm $FRANZ_KADM full install_franz_tests franz_kadm

install_franz_go() { go_program franz-go; }
install_franz_tests() {
	install_gregor
	once franz-go-tests/kgo-$FRANZ_KGO go_module "github.com/twmb/franz-go@$FRANZ_KGO"
	once franz-go-tests/kadm-$FRANZ_KADM go_module "github.com/twmb/franz-go/pkg/kadm@$FRANZ_KADM"
	(cd "$CACHE/franz-go-tests/kgo-$FRANZ_KGO" && go test -c -o /dev/null ./pkg/kgo)
}

franz_go_program() { "$CACHE/go/franz-go" "$BOOTSTRAP"; }

franz_kgo() { franz_kgo_tests 1 "$(quick 50000 500000)"; }
franz_kgo_cluster() {
	until_true 60 serving 3
	franz_kgo_tests 3 200000
}

# franz_kgo_tests REPLICAS RECORDS: of each topic, and to each topic.
franz_kgo_tests() {
	cd "$CACHE/franz-go-tests/kgo-$FRANZ_KGO/pkg/kgo"
	local status=0
	KGO_SEEDS=$BOOTSTRAPS KGO_TEST_RF=$1 KGO_TEST_RECORDS=$2 KGO_LOG_LEVEL=none \
		go test -count=1 -timeout 14m -skip "$FRANZ_SKIP" -v . >"$WORK/out" 2>&1 || status=$?
	grep -E '^ *--- SKIP|^ok|^FAIL' "$WORK/out" || true
	[ $status -eq 0 ] || { grep -E -A 20 '^ *--- FAIL|^panic:|_test.go:[0-9]+:' "$WORK/out" | tail -n 80; return 1; }
	local ran
	ran=$(grep -c '^--- PASS' "$WORK/out")
	[ "$ran" -ge 100 ] || die "only $ran tests ran"
}

franz_kadm() {
	cd "$CACHE/franz-go-tests/kadm-$FRANZ_KADM"
	KGO_SEEDS=$BOOTSTRAP go test -count=1 ./...
}
