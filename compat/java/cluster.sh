# Apache Kafka's tools and clients on three nodes. Sourced by cases.sh.

case_add java-cluster kafka-tools $KAFKA_VERSION full install_java_cluster java_cluster_tools 600
case_add java-cluster-moves kafka-tools $KAFKA_VERSION full install_java_cluster java_cluster_moves 600
case_add java-cluster-clients kafka-tools $KAFKA_VERSION full install_java_cluster java_cluster_clients 600
case_nodes java-cluster 3
case_nodes java-cluster-moves 3
case_nodes java-cluster-clients 3

install_java_cluster() { install_java; install_gregor; }

java_cluster_tools() {
	java_new
	until_true 60 serving 3
	local b="--bootstrap-server $BOOTSTRAPS" out each
	step "kafka-topics and gregor topic agree, whichever node is asked"
	tool TopicCommand $b --create --topic orders --partitions 6 --replication-factor 3 --config min.insync.replicas=2
	until_true 30 in_sync orders
	for each in ${BOOTSTRAPS//,/ }; do
		is "$(described_by_java "$each" orders)" "$(described_by_gregor "$each" orders)" "what $each tells"
	done
	is "$(described_by_gregor "$BOOTSTRAP" orders | wc -l)" 6 "the number of partitions"
	is "$(described_by_gregor "$BOOTSTRAP" orders | awk '{ print $2 }' | sort | uniq -c | tr -s ' ' | paste -sd,)" " 2 0, 2 1, 2 2" "how leaders are spread"

	step "kafka-cluster, kafka-metadata-quorum and gregor cluster agree"
	is "$(tool ClusterTool list-endpoints $b | awk 'NR > 1 { print $1, $2 ":" $3 }' | sort)" \
		"$(gregor cluster describe -o json | python3 -c 'import json, sys; [print(b["id"], "%s:%d" % (b["host"], b["port"])) for b in json.load(sys.stdin)["brokers"]]')" "the endpoints"
	out=$(tool MetadataQuorumCommand $b describe --status)
	is "$(awk '$1 == "LeaderId:" { print $2 }' <<<"$out")" "$(gregor cluster describe -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["quorum"]["leader"])')" "the leader of the quorum"
	is "$(voters "$out")" "0 1 2" "the voters"
	is "$(gregor cluster describe -o json | python3 -c 'import json, sys; print(*sorted(m["node"] for m in json.load(sys.stdin)["quorum"]["members"] if m["role"] != "observer"))')" "0 1 2"
	out=$(tool MetadataQuorumCommand $b describe --replication)
	is "$(grep -c Leader$ <<<"$(sed 's/[[:space:]]*$//' <<<"$out")")" 1 "the number of leaders in: $out"
	is "$(grep -c 'Follower' <<<"$out")" 2 "the number of followers in: $out"

	step "kafka-configs: of one broker, of all, asked of any node"
	tool ConfigCommand $b --alter --entity-type brokers --entity-name 2 --add-config log.retention.ms=7200000
	tool ConfigCommand $b --alter --entity-type brokers --entity-default --add-config log.retention.ms=3600000
	has "$(tool ConfigCommand --bootstrap-server "$(address 0)" --describe --entity-type brokers --entity-name 2)" \
		'log.retention.ms=7200000 .*DYNAMIC_BROKER_CONFIG:log.retention.ms=7200000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=3600000'
	has "$(tool ConfigCommand --bootstrap-server "$(address 1)" --describe --entity-type brokers --entity-default)" 'log.retention.ms=3600000'
	out=$(tool ConfigCommand --bootstrap-server "$(address 1)" --describe --all --entity-type brokers --entity-name 0)
	has "$out" '^ *log.retention.ms=3600000'
	tool ConfigCommand $b --alter --entity-type brokers --entity-name 2 --delete-config log.retention.ms
	tool ConfigCommand $b --alter --entity-type brokers --entity-default --delete-config log.retention.ms

	step "kafka-leader-election: preferred"
	node_down 1
	until_true 60 leads_nothing 1 orders
	node_up 1
	until_true 60 in_sync orders
	leads_nothing 1 orders || die "node 1 leads again before anybody asked for it"
	tool LeaderElectionCommand $b --election-type preferred --all-topic-partitions
	until_true 30 leads_first_of orders
	out=$(tool LeaderElectionCommand $b --election-type preferred --topic orders --partition 0 2>&1)
	has "$out" 'Valid replica already elected for partitions.*orders-0'

	step "kafka-leader-election: unclean"
	tool TopicCommand $b --create --topic risky --replica-assignment 1:2 --config min.insync.replicas=1
	printf 'both have this\n' | tool ConsoleProducer $b --topic risky >/dev/null
	node_down 2
	until_true 60 has_isr risky "[1]"
	printf 'one has this\n' | tool ConsoleProducer --bootstrap-server "$(address 0),$(address 1)" --topic risky >/dev/null
	node_down 1
	node_up 2
	until_true 60 leads_nothing 1 risky
	is "$(described_by_gregor "$(address 0)" risky | awk '{ print $2 }')" -1 "the leader without anybody who is in sync"
	out=$(tool LeaderElectionCommand --bootstrap-server "$(address 0)" --election-type preferred --topic risky --partition 0 2>&1 || true)
	has "$out" 'preferred leader.*not available|PreferredLeaderNotAvailable'
	tool LeaderElectionCommand --bootstrap-server "$(address 0)" --election-type unclean --topic risky --partition 0
	is "$(described_by_gregor "$(address 0)" risky | awk '{ print $2 }')" 2 "the leader that was elected uncleanly"
	is "$(tool ConsoleConsumer --bootstrap-server "$(address 0)" --topic risky --from-beginning --max-messages 1 --timeout-ms 20000 2>/dev/null)" "both have this"
	node_up 1
	until_true 60 in_sync risky

	[ "$AGAINST" = gregor ] || return 0 # Kafka's voters are static unless they were formatted otherwise
	step "kafka-metadata-quorum: remove-controller and add-controller"
	out=$(tool MetadataQuorumCommand $b remove-controller --controller-id 2 --controller-directory-id "$(directory_id 2)")
	until_true 60 votes_not 2
	cat >controller.properties <<-END
		process.roles=controller
		node.id=2
		controller.listener.names=CONTROLLER
		listeners=CONTROLLER://$(address 2)
		controller.quorum.bootstrap.servers=$(address 0)
		log.dirs=$NODES_DIR/node-2/logs
	END
	tool MetadataQuorumCommand $b --command-config controller.properties add-controller
	until_true 60 votes 2
	out=$(tool MetadataQuorumCommand $b --command-config controller.properties add-controller 2>&1 || true)
	has "$out" 'DuplicateVoter|is a voter already|already'
}

java_cluster_moves() {
	java_new
	until_true 60 serving 3
	local b="--bootstrap-server $BOOTSTRAPS" out
	step "kafka-reassign-partitions: generate, execute with a throttle, verify"
	tool TopicCommand $b --create --topic moved --replica-assignment 0:1,1:0,0:1
	text text 3000000
	tool ConsoleProducer $b --topic moved <text >/dev/null
	echo '{"topics":[{"topic":"moved"}],"version":1}' >topics.json
	tool ReassignPartitionsCommand $b --generate --topics-to-move-json-file topics.json --broker-list 1,2 >generated
	tail -n 1 generated >plan.json
	has "$(cat plan.json)" '"replicas":\[(1,2|2,1)\]'
	out=$(tool ReassignPartitionsCommand $b --execute --reassignment-json-file plan.json --throttle 20000000)
	has "$out" 'The inter-broker throttle limit was set to 20000000 B/s'
	has "$out" 'Successfully started partition reassignments for moved-0,moved-1,moved-2'
	until_true 60 verified plan.json
	out=$(cat verified)
	has "$out" 'Clearing broker-level throttles on brokers 0,1,2'
	has "$out" 'Clearing topic-level throttles on topic moved'
	is "$(described_by_java "$BOOTSTRAP" moved | grep -v ' [12],[12] [12],[12]$' || true)" "" "what is elsewhere"
	hasnt "$(tool ConfigCommand $b --describe --entity-type brokers --entity-name 1)" throttled
	hasnt "$(tool TopicCommand $b --describe --topic moved)" throttled
	tool ConsoleConsumer $b --topic moved --from-beginning --max-messages "$(wc -l <text)" --timeout-ms 30000 2>/dev/null | LC_ALL=C sort >back
	same <(LC_ALL=C sort text) back

	step "kafka-reassign-partitions: a throttle holds it up, list, cancel"
	tool TopicCommand $b --create --topic heavy --replica-assignment 0:1
	text large 12000000
	tool ConsoleProducer $b --topic heavy --compression-codec none <large >/dev/null
	echo '{"version":1,"partitions":[{"topic":"heavy","partition":0,"replicas":[2,1]}]}' >heavy.json
	tool ReassignPartitionsCommand $b --execute --reassignment-json-file heavy.json --throttle 1000
	sleep 3
	has "$(tool ReassignPartitionsCommand $b --list)" 'heavy-0: replicas: .*adding: 2.*removing: 0'
	out=$(tool ReassignPartitionsCommand $b --verify --reassignment-json-file heavy.json --preserve-throttles)
	has "$out" 'Reassignment of partition heavy-0 is still in progress'
	out=$(tool ReassignPartitionsCommand $b --execute --reassignment-json-file heavy.json 2>&1 || true)
	has "$out" 'Cannot execute because there is an existing partition assignment'
	out=$(tool ReassignPartitionsCommand $b --cancel --reassignment-json-file heavy.json)
	has "$out" 'Successfully cancelled partition reassignments? for: heavy-0'
	is "$(tool ReassignPartitionsCommand $b --list)" "No partition reassignments found."
	# The order in which a reassignment is begun stays, in Kafka too: those that were wanted, those that were to go.
	is "$(described_by_java "$BOOTSTRAP" heavy)" "0 0 1,0 0,1"

	step "kafka-reassign-partitions: a throttle that is raised lets it go on"
	tool ReassignPartitionsCommand $b --execute --reassignment-json-file heavy.json --throttle 1000
	sleep 2
	has "$(tool ReassignPartitionsCommand $b --list)" 'heavy-0'
	tool ReassignPartitionsCommand $b --execute --additional --reassignment-json-file heavy.json --throttle 50000000
	until_true 60 verified heavy.json
	is "$(described_by_java "$BOOTSTRAP" heavy)" "0 2 2,1 1,2"
	tool ConsoleConsumer $b --topic heavy --from-beginning --max-messages "$(wc -l <large)" --timeout-ms 30000 2>/dev/null >back
	same large back
	# The node that it has left has no folder of it any more.
	until_true 90 gone "$NODES_DIR/node-0/${LOG_DIR##*/}/heavy-0"
}

java_cluster_clients() {
	java_new
	until_true 60 serving 3
	local b="--bootstrap-server $BOOTSTRAPS" records producer consumer coordinator leader id
	step "VerifiableProducer through kill -9 of a leader and a restart of each node in turn"
	tool TopicCommand $b --create --topic verified --partitions 3 --replication-factor 3 --config min.insync.replicas=2
	until_true 30 in_sync verified
	tool_exec VerifiableConsumer $b --topic verified --group-id verifiers --reset-policy earliest >consumed 2>consumed.log &
	consumer=$!
	echo "retries=2147483647" >retries.properties # as clients have it; the tool tries once
	tool_exec VerifiableProducer $b --topic verified --throughput 2500 --acks -1 --command-config retries.properties >produced 2>produced.log &
	producer=$!
	until_true 60 succeeded 3000
	leader=$(described_by_gregor "$BOOTSTRAP" verified | awk '$1 == 0 { print $2 }')
	node_down "$leader"
	sleep 2
	node_up "$leader"
	until_true 60 in_sync verified
	for id in 0 1 2; do
		node_down $id TERM
		node_up $id
		until_true 60 serving 3
		until_true 60 in_sync verified
	done
	kill -TERM $producer # it waits for what is under way
	wait $producer || true
	# The last send may come after the close.
	is "$(grep '"name":"producer_send_error"' produced | grep -vc 'producer has been closed' || true)" 0 "the number of errors that the producer was told"
	records=$(grep -c '"name":"producer_send_success"' produced)
	[ "$records" -gt 10000 ] || die "only $records records were acknowledged while nodes were restarted"
	is "$(tool GetOffsetShell $b --topic verified | awk -F: '{ n += $3 } END { print n }')" $records "what the log has"
	tool ConsoleConsumer $b --topic verified --from-beginning --max-messages $records --timeout-ms 30000 2>/dev/null | sort -n >back
	same <(seq 0 $((records - 1))) back

	step "a group whose coordinator is killed goes on"
	until_true 60 consumed_at_least $records
	coordinator=$(tool ConsumerGroupCommand $b --describe --group verifiers --state | sed -n 's/.*(\([0-9]\)).*/\1/p')
	[ -n "$coordinator" ] || die "the group has no coordinator"
	node_down "$coordinator"
	seq $records $((records + 4999)) | tool ConsoleProducer $b --topic verified >/dev/null
	until_true 90 consumed_at_least $((records + 5000))
	until_true 60 lags_nothing
	node_up "$coordinator"
	kill $consumer
	wait $consumer || true
	until_true 30 in_sync verified
	is "$(python3 -c '
import json
events = [json.loads(line) for line in open("consumed") if line.startswith("{")]
print(sum(not e.get("success", True) for e in events if e["name"] == "offsets_committed") < 20)')" True "that few commits failed"
}

address() { echo "127.0.0.1:$(node_port "$1")"; }

# described_by_java ADDRESS TOPIC: number, leader, replicas and ISR of each partition, the ISR in order of ids.
described_by_java() {
	tool TopicCommand --bootstrap-server "$1" --describe --topic "$2" | python3 -c '
import re, sys
for line in sys.stdin:
    m = re.search(r"Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: ?(\S*)", line)
    if m:
        print(m[1], m[2].replace("none", "-1"), m[3], ",".join(sorted(m[4].split(","))))' | sort -n
}
described_by_gregor() {
	gregor topic describe "$2" -b "$1" -o json | python3 -c '
import json, sys
for p in json.load(sys.stdin)[0]["partition_list"]:
    print(p["partition"], p["leader"], ",".join(map(str, p["replicas"])), ",".join(map(str, sorted(p["isr"]))))' | sort -n
}

# voters TEXT: the ids of CurrentVoters.
voters() { sed -n 's/^CurrentVoters: *//p' <<<"$1" | grep -oE '"id": *[0-9]+|^\[[0-9,]+\]' | grep -oE '[0-9]+' | sort -n | paste -sd' '; }
leads_nothing() { [ -z "$(led_by "$1" "$2" -b "$(other_than "$1")")" ]; }
other_than() { address $((($1 + 2) % 3)); }
leads_first_of() { [ -z "$(described_by_gregor "$BOOTSTRAP" "$1" | awk '{ split($3, r, ","); if (r[1] != $2) print }')" ]; }
has_isr() { [ "[$(described_by_gregor "$(address 0)" "$1" | awk '{ print $4 }')]" = "$2" ]; }
verified() {
	tool ReassignPartitionsCommand --bootstrap-server "$BOOTSTRAPS" --verify --reassignment-json-file "$1" >verified
	! grep -q 'still in progress' verified
}
gone() { [ ! -e "$1" ]; }
votes() { gregor cluster describe -o json | python3 -c 'import json, sys; sys.exit(not any(m["node"] == int(sys.argv[1]) and m["role"] != "observer" for m in json.load(sys.stdin)["quorum"]["members"]))' "$1"; }
votes_not() { ! votes "$1"; }
directory_id() { tool MetadataQuorumCommand --bootstrap-server "$BOOTSTRAPS" describe --replication | awk -v id="$1" '$1 == id { print $2 }'; }
succeeded() { [ "$(grep -c '"name":"producer_send_success"' produced)" -ge "$1" ]; }
consumed_at_least() {
	[ "$(python3 -c '
import json
print(sum(e["count"] for e in (json.loads(line) for line in open("consumed") if line.startswith("{")) if e["name"] == "records_consumed"))')" -ge "$1" ]
}
lags_nothing() {
	[ "$(tool ConsumerGroupCommand --bootstrap-server "$BOOTSTRAPS" --describe --group verifiers 2>/dev/null | awk '$2 == "verified" { n += $6; k++ } END { print n + 0, k + 0 }')" = "0 3" ]
}
