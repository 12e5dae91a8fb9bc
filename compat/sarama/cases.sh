# sarama: a program of ours, and its own functional tests, from the module as published.

SARAMA=v1.61.1
TOXIPROXY=v2.12.0

# What the tests need that a node does not have yet; compat/SKIPPED.md has the reasons.
SARAMA_SKIP='^(TestFuncAdminQuotas|TestFuncTxn.*|TestFuncInitProducerId3|TestFuncDescribeTransactions|TestFuncListTransactions|TestReadOnlyAndAllCommittedMessages)$'
# It produces with acks=1 and asks for the end of the log at once, as if that waited for followers. Kafka's followers have the records
# a moment later, and so do ours; on disk they have them some milliseconds after that.
SARAMA_HASTE='^TestFuncAdminListOffsets$'

case_add sarama sarama $SARAMA quick install_sarama sarama 180
case_add sarama-functional sarama $SARAMA full install_sarama_functional sarama_functional 1200

install_sarama() { go_program sarama; }
sarama() { "$CACHE/go/sarama" "$BOOTSTRAP"; }

install_sarama_functional() {
	install_java
	install_gregor
	once sarama-tests/$SARAMA go_module "github.com/IBM/sarama@$SARAMA"
	once toxiproxy/$TOXIPROXY go_module "github.com/Shopify/toxiproxy/v2@$TOXIPROXY"
	[ -x "$CACHE/go/toxiproxy" ] || (cd "$CACHE/toxiproxy/$TOXIPROXY" && go build -o "$CACHE/go/toxiproxy" ./cmd/server)
	(cd "$CACHE/sarama-tests/$SARAMA" && go test -c -tags functional -o "$CACHE/go/sarama.test" .)
}

# The tests bring up five brokers with docker compose, each behind a proxy that breaks connections, stop and start brokers, and run
# Kafka's tools in their containers. Here they find a program called docker that does these with five nodes, whose names and
# ports are the containers', in a network and a view of files of their own.
sarama_functional() {
	{ unshare -n -m true && command -v ip; } >/dev/null 2>&1 || skip "making a network namespace is not possible here"
	export SARAMA SARAMA_SKIP
	# The node that the case was given is of no use to it.
	[ -n "${INSIDE:-}" ] || exec unshare -n -m env INSIDE=1 bash "$COMPAT/run" --one=sarama-functional
	ip link set lo up
	export FIRST_ID=1 RESTART=1 RACKS=1,2,3,4,5 NODES_DIR=$WORK/nodes PORTS=19091,19092,19093,19094,19095 INTERNAL=9091,9191,9291,9391,9491
	export ADVERTISED=localhost:29091,localhost:29092,localhost:29093,localhost:29094,localhost:29095
	BROKER_LOG=$WORK/nodes.log BOOTSTRAP=127.0.0.1:19091 BOOTSTRAPS=127.0.0.1:19091
	export BROKER_LOG
	sarama_places
	# As the tests' docker-compose.yml has them.
	cluster "$NODES_DIR" "$PORTS" 'auto.create.topics.enable=false
default.replication.factor=2
offsets.topic.replication.factor=2
group.initial.rebalance.delay.ms=0
replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector' >"$BROKER_LOG" 2>&1 &
	BROKER=$!
	python3 -c 'import json; print(json.dumps([{"name": "kafka%d" % i, "listen": "0.0.0.0:%d" % (29090 + i), "upstream": "127.0.0.1:%d" % (19090 + i), "enabled": True} for i in range(1, 6)]))' >proxies.json
	"$CACHE/go/toxiproxy" -host 127.0.0.1 -port 8474 -config proxies.json >toxiproxy.log 2>&1 &
	local proxy=$! status=0 port ran
	for port in ${PORTS//,/ } 8474; do wait_for "$port" || die "nobody listens on port $port"; done
	until_true 60 serving 5
	cd "$CACHE/sarama-tests/$SARAMA"
	sarama_tests -test.skip "$SARAMA_SKIP|$SARAMA_HASTE" ${SARAMA_RUN:+-test.run "$SARAMA_RUN"} || status=$?
	# As Kafka has it: a record counts when it is in the logs.
	[ "$AGAINST" = kafka ] || gregor config set --broker-defaults log.ack.durability=memory
	[ -n "${SARAMA_RUN:-}" ] || sarama_tests -test.run "$SARAMA_HASTE" || status=$?
	kill $proxy "$BROKER" 2>/dev/null
	wait
	grep -E '^ *--- SKIP' "$WORK/out" || true
	[ $status -eq 0 ] || { grep -E -A 25 '^ *--- FAIL|^panic:|Error Trace' "$WORK/out" | cut -c1-300 | tail -n 100; return 1; }
	ran=$(grep -c '^--- PASS' "$WORK/out")
	echo "$ran tests passed"
	[ -n "${SARAMA_RUN:-}" ] || [ "$ran" -ge 60 ] || die "only $ran tests ran"
}

sarama_tests() {
	PATH=$COMPAT/sarama:$PATH KAFKA_VERSION=$KAFKA_VERSION "$CACHE/go/sarama.test" -test.v -test.timeout 18m ${SARAMA_COUNT:+-test.count=$SARAMA_COUNT} "$@" >>"$WORK/out" 2>&1
}

# sarama_places puts what the containers have to where the tests look for it: /opt/kafka-VERSION/bin, and kafka-1 as a host.
sarama_places() {
	local tool class
	mkdir -p "$WORK/opt/kafka-$KAFKA_VERSION/bin"
	for tool in console-producer=org.apache.kafka.tools.ConsoleProducer console-consumer=org.apache.kafka.tools.consumer.ConsoleConsumer \
		verifiable-consumer=org.apache.kafka.tools.VerifiableConsumer; do
		class=${tool#*=}
		printf '#!/bin/sh\nexec java -Xmx256m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "%s/java/%s/*" %s "$@"\n' "$CACHE" "$KAFKA_VERSION" "$class" \
			>"$WORK/opt/kafka-$KAFKA_VERSION/bin/kafka-${tool%%=*}.sh"
	done
	chmod +x "$WORK/opt/kafka-$KAFKA_VERSION/bin/"*.sh
	mount --bind "$WORK/opt" /opt
	{ cat /etc/hosts; echo "127.0.0.1 kafka-1 kafka-2 kafka-3 kafka-4 kafka-5"; } >"$WORK/hosts"
	mount --bind "$WORK/hosts" /etc/hosts
}
