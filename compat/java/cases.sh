# Apache Kafka's own clients and tools: the newest, and 2.8.

case_add java-tools kafka-tools $KAFKA_VERSION quick install_java java_tools_new 400
case_add java-tools-old kafka-tools $KAFKA_OLD_VERSION quick install_java_old java_tools_old 400
case_add java-perf kafka-tools $KAFKA_VERSION full install_java java_perf_new 400
case_add java-perf-old kafka-tools $KAFKA_OLD_VERSION full install_java_old java_perf_old 400
case_add java java-clients $KAFKA_VERSION quick install_java_program java_program_new 120
case_add java-old java-clients $KAFKA_OLD_VERSION full install_java_program_old java_program_old 120

install_java_program() { install_java; java_compile $KAFKA_VERSION "$COMPAT"/java/*.java; }
install_java_program_old() { install_java_old; java_compile $KAFKA_OLD_VERSION "$COMPAT/java/Round.java"; }
java_compile() { # VERSION SOURCE…
	rm -rf "$CACHE/java-program-$1"
	javac -nowarn -d "$CACHE/java-program-$1" -cp "$CACHE/java/$1/*" "${@:2}"
}
java_program() { java -Xmx512m $(java_logging) -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$CACHE/java-program-$java_version:$CACHE/java/$java_version/*" Round "$BOOTSTRAP"; }
java_program_new() { java_new; java_program; }
java_program_old() { java_old; java_program; }

java_new() { java_version=$KAFKA_VERSION; }
java_old() { java_version=$KAFKA_OLD_VERSION; }

# tool CLASS ARGUMENT…: runs a tool. What names differ between versions, java_tool knows.
tool() { (tool_exec "$@"); }

# tool_exec is the same in place of the shell, for one in the background that is to be killed.
tool_exec() {
	local class=$1
	shift
	exec java -Xmx512m -XX:TieredStopAtLevel=1 $(java_logging) -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$CACHE/java/$java_version/*" "$(java_tool "$class")" "$@"
}

java_logging() { [ "$java_version" != $KAFKA_OLD_VERSION ] || echo "-Dlog4j.configuration=file:$COMPAT/java/log4j.properties"; }

java_tool() {
	case $java_version.$1 in
	$KAFKA_VERSION.ConfigCommand) echo kafka.admin.ConfigCommand ;;
	$KAFKA_VERSION.ConsoleConsumer) echo org.apache.kafka.tools.consumer.ConsoleConsumer ;;
	$KAFKA_VERSION.ConsumerGroupCommand) echo org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
	$KAFKA_VERSION.ReassignPartitionsCommand) echo org.apache.kafka.tools.reassign.ReassignPartitionsCommand ;;
	$KAFKA_VERSION.* | *.ProducerPerformance | *.Verifiable*) echo "org.apache.kafka.tools.$1" ;;
	*Command) echo "kafka.admin.$1" ;;
	*) echo "kafka.tools.$1" ;;
	esac
}

java_tools_new() { java_new; java_tools; java_tools_only_new; }
java_tools_old() { java_old; java_tools; }
java_perf_new() { java_new; java_perf; }
java_perf_old() { java_old; java_perf; }

java_tools() {
	local b="--bootstrap-server $BOOTSTRAP" out newest= print=--property
	[ "$java_version" = "$KAFKA_OLD_VERSION" ] || newest=yes
	[ -z "$newest" ] || print=--formatter-property

	step "kafka-broker-api-versions"
	has "$(tool BrokerApiVersionsCommand $b)" 'Fetch\(1\)'

	step "kafka-topics"
	tool TopicCommand $b --create --topic orders --partitions 3 --replication-factor 1 --config retention.ms=3600000
	out=$(tool TopicCommand $b --create --topic orders --partitions 3 --replication-factor 1 2>&1 || true)
	has "$out" 'already exists'
	out=$(tool TopicCommand $b --create --topic 'bad name' --partitions 1 --replication-factor 1 2>&1 || true)
	has "$out" 'illegal|name is made of|one or more characters'
	out=$(tool TopicCommand $b --create --topic wide --partitions 1 --replication-factor 3 2>&1 || true)
	has "$out" '[Rr]eplication factor'
	has "$(tool TopicCommand $b --list)" '^orders$'
	out=$(tool TopicCommand $b --describe --topic orders)
	has "$out" 'Topic: orders.*PartitionCount: 3.*ReplicationFactor: 1.*Configs: .*retention.ms=3600000'
	has "$out" 'Partition: 2.*Leader: 0.*Replicas: 0.*Isr: 0'
	tool TopicCommand $b --alter --topic orders --partitions 4
	has "$(tool TopicCommand $b --describe --topic orders)" 'PartitionCount: 4'
	is "$(tool TopicCommand $b --describe --under-replicated-partitions)" ""
	is "$(tool TopicCommand $b --describe --unavailable-partitions)" ""
	has "$(tool TopicCommand $b --describe --topics-with-overrides)" 'Topic: orders'

	step "kafka-configs: a topic"
	tool ConfigCommand $b --alter --entity-type topics --entity-name orders --add-config max.message.bytes=2000000,cleanup.policy=[compact,delete]
	out=$(tool ConfigCommand $b --describe --entity-type topics --entity-name orders)
	has "$out" 'max.message.bytes=2000000.*TOPIC_CONFIG|DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000'
	has "$out" 'cleanup.policy=compact,delete'
	has "$out" 'retention.ms=3600000'
	tool ConfigCommand $b --alter --entity-type topics --entity-name orders --delete-config max.message.bytes,cleanup.policy
	out=$(tool ConfigCommand $b --describe --entity-type topics --entity-name orders)
	hasnt "$out" 'max.message.bytes'
	has "$out" 'retention.ms=3600000'
	out=$(tool ConfigCommand $b --describe --all --entity-type topics --entity-name orders)
	has "$out" 'segment.bytes=1073741824 sensitive=false synonyms=\{DEFAULT_CONFIG:log.segment.bytes=1073741824\}'
	out=$(tool ConfigCommand $b --alter --entity-type topics --entity-name orders --add-config no.such.key=1 2>&1 || true)
	has "$out" '[Uu]nknown (topic )?config'
	out=$(tool ConfigCommand $b --alter --entity-type topics --entity-name orders --add-config retention.ms=soon 2>&1 || true)
	has "$out" 'InvalidConfiguration'

	step "kafka-configs: the broker"
	has "$(tool ConfigCommand $b --describe --all --entity-type brokers --entity-name 0)" 'log.retention.hours|log.segment.bytes'
	tool ConfigCommand $b --alter --entity-type brokers --entity-default --add-config log.retention.ms=7200000
	has "$(tool ConfigCommand $b --describe --entity-type brokers --entity-default)" 'log.retention.ms=7200000'
	tool ConfigCommand $b --alter --entity-type brokers --entity-default --delete-config log.retention.ms
	hasnt "$(tool ConfigCommand $b --describe --entity-type brokers --entity-default)" 'log.retention.ms'

	step "kafka-console-producer and -consumer"
	tool TopicCommand $b --create --topic lines --partitions 1 --replication-factor 1
	text text 2000000
	local codec
	for codec in $(quick zstd "none gzip snappy lz4 zstd"); do
		tool ConsoleProducer $b --topic lines --compression-codec $codec <text 2>&1 | grep -v '^>*$' || true
	done
	local codecs=$(quick 1 5) n
	n=$(wc -l <text)
	tool ConsoleConsumer $b --topic lines --from-beginning --max-messages $((n * codecs)) --timeout-ms 30000 >back 2>err || { cat err; die "not all came back: $(wc -l <back) lines"; }
	for _ in $(seq "$codecs"); do cat text; done >want
	same want back
	printf 'k1\tv1\nk2\tv2\n' | tool ConsoleProducer $b --topic orders --property parse.key=true >/dev/null
	is "$(tool ConsoleConsumer $b --topic orders --from-beginning --max-messages 2 --timeout-ms 20000 $print print.key=true 2>/dev/null | sort | paste -sd' ')" "k1	v1 k2	v2"
	is "$(tool ConsoleConsumer $b --topic lines --partition 0 --offset 5 --max-messages 1 --timeout-ms 20000 2>/dev/null)" "$(sed -n 6p text)"

	step "kafka-get-offsets"
	local list=--broker-list
	[ -z "$newest" ] || list=--bootstrap-server
	is "$(tool GetOffsetShell $list "$BOOTSTRAP" --topic lines)" "lines:0:$((n * codecs))"
	is "$(tool GetOffsetShell $list "$BOOTSTRAP" --topic lines --time -2)" "lines:0:0"
	is "$(tool GetOffsetShell $list "$BOOTSTRAP" --topic lines --time 1000)" "lines:0:0"

	step "kafka-consumer-groups"
	tool ConsoleConsumer $b --topic lines --group readers --from-beginning --max-messages 100 --timeout-ms 20000 >/dev/null 2>&1
	has "$(tool ConsumerGroupCommand $b --list)" '^readers$'
	has "$(tool ConsumerGroupCommand $b --list --state)" 'readers +(Classic +)?Empty'
	out=$(tool ConsumerGroupCommand $b --describe --group readers)
	has "$out" "^ *readers +lines +0 +(-1 +|- +)?100 +$((n * codecs)) +$((n * codecs - 100)) +- "
	has "$(tool ConsumerGroupCommand $b --describe --group readers --state)" 'readers .*Empty +0'
	out=$(tool ConsumerGroupCommand $b --reset-offsets --group readers --topic lines --to-offset 7 --execute)
	has "$out" 'readers +lines +0 +7'
	out=$(tool ConsumerGroupCommand $b --reset-offsets --group readers --topic lines --to-datetime 2020-01-01T00:00:00.000 --dry-run)
	has "$out" 'readers +lines +0 +0'
	is "$(tool ConsoleConsumer $b --topic lines --group readers --max-messages 1 --timeout-ms 20000 2>/dev/null)" "$(sed -n 8p text)"
	# One that stays, to see members.
	tool_exec ConsoleConsumer $b --topic lines --group stays >/dev/null 2>&1 &
	local consumer=$!
	for _ in $(seq 20); do
		out=$(tool ConsumerGroupCommand $b --describe --group stays --members --verbose 2>&1)
		! grep -q 'lines' <<<"$out" || break
	done
	has "$out" 'stays +(console-)?consumer-.* /127.0.0.1 .*(lines\(0\)|lines:0)'
	has "$(tool ConsumerGroupCommand $b --describe --group stays --state)" 'stays .*range +Stable +1'
	out=$(tool ConsumerGroupCommand $b --delete --group stays 2>&1 || true)
	has "$out" 'not empty|NonEmpty|GroupNotEmpty'
	kill $consumer
	wait $consumer || true
	out=$(tool ConsumerGroupCommand $b --delete-offsets --group readers --topic lines)
	has "$out" 'lines +0 +Successful'
	has "$(tool ConsumerGroupCommand $b --delete --group readers)" 'successful'
	hasnt "$(tool ConsumerGroupCommand $b --list)" '^readers$'

	step "kafka-delete-records"
	echo '{"version":1,"partitions":[{"topic":"lines","partition":0,"offset":50}]}' >delete.json
	has "$(tool DeleteRecordsCommand $b --offset-json-file delete.json)" 'low_watermark: 50'
	is "$(tool GetOffsetShell $list "$BOOTSTRAP" --topic lines --time -2)" "lines:0:50"
	is "$(tool ConsoleConsumer $b --topic lines --from-beginning --max-messages 1 --timeout-ms 20000 2>/dev/null)" "$(sed -n 51p text)"

	step "kafka-log-dirs"
	out=$(tool LogDirsCommand $b --describe --topic-list lines)
	has "$out" '"partition":"lines-0","size":[1-9][0-9]*,"offsetLag":0,"isFuture":false'

	step "kafka-dump-log"
	out=$(tool DumpLogSegments --files "$LOG_DIR/lines-0/00000000000000000000.log" --deep-iteration --print-data-log)
	has "$out" 'baseOffset: 0 '
	is "$(grep -c '| offset: ' <<<"$out")" $((n * codecs)) "what the dump shows"
	hasnt "$out" 'isvalid: false'
	# Indexes, of a segment that is closed: those of one that is written to are not complete on disk.
	tool TopicCommand $b --create --topic rolled --partitions 1 --replication-factor 1 --config segment.bytes=1048576
	tool ConsoleProducer $b --topic rolled <text >/dev/null
	tool ConsoleProducer $b --topic rolled <text >/dev/null
	local file
	for file in index timeindex; do
		[ -s "$LOG_DIR/rolled-0/00000000000000000000.$file" ] || die "no $file of a closed segment"
		out=$(tool DumpLogSegments --files "$LOG_DIR/rolled-0/00000000000000000000.$file" --index-sanity-check 2>&1)
		has "$out" 'passed sanity check'
		out=$(tool DumpLogSegments --files "$LOG_DIR/rolled-0/00000000000000000000.$file" --verify-index-only 2>&1)
		hasnt "$out" '[Mm]ismatches|not found|Exception'
	done
	# Kafka 2.8 cannot read what Kafka 4 writes here.
	if [ "$AGAINST$newest" != kafka ]; then
		out=$(tool DumpLogSegments --files "$(ls "$LOG_DIR"/__consumer_offsets-*/*.log | paste -sd,)" --offsets-decoder 2>&1)
		hasnt "$out" 'Exception'
		has "$out" 'offset_commit::group=readers|"group":"readers"'
		has "$out" 'group_metadata::group=stays|"group":"stays"'
	fi

	step "kafka-topics --delete"
	tool TopicCommand $b --delete --topic lines
	hasnt "$(tool TopicCommand $b --list)" '^lines$'
	out=$(tool TopicCommand $b --delete --topic lines 2>&1 || true)
	has "$out" 'does not exist'
}

java_tools_only_new() {
	local b="--bootstrap-server $BOOTSTRAP" out
	step "kafka-groups, kafka-metadata-quorum, kafka-features, kafka-cluster, kafka-leader-election, kafka-reassign-partitions, kafka-transactions"
	has "$(tool GroupsCommand $b --list)" 'stays +Classic +consumer'
	has "$(tool MetadataQuorumCommand $b describe --status)" 'LeaderId: +0'
	has "$(tool MetadataQuorumCommand $b describe --replication)" '^0 .*Leader'
	has "$(tool FeatureCommand $b describe)" 'Feature: metadata.version'
	has "$(tool ClusterTool cluster-id $b)" 'Cluster ID: .{22}$'
	has "$(tool ClusterTool list-endpoints $b)" '^0 +127.0.0.1'
	out=$(tool LeaderElectionCommand $b --election-type preferred --all-topic-partitions 2>&1)
	hasnt "$out" 'Exception|[Ee]rror'
	is "$(tool ReassignPartitionsCommand $b --list)" "No partition reassignments found."
	printf 'once\n' | tool ConsoleProducer $b --topic orders --producer-property enable.idempotence=true >/dev/null
	has "$(tool TransactionsCommand $b describe-producers --topic orders --partition 0)" 'ProducerId'
	has "$(tool ConfigCommand $b --describe --entity-type topics)" 'orders'
}

java_perf() {
	local b="--bootstrap-server $BOOTSTRAP" out records
	records=$(quick 100000 1000000)
	tool TopicCommand $b --create --topic perf --partitions 6 --replication-factor 1

	step "ProducerPerformance and ConsumerPerformance"
	local one
	for one in acks=all acks=1 "acks=all compression.type=lz4"; do
		out=$(tool ProducerPerformance --topic perf --num-records $records --record-size 100 --throughput -1 \
			--producer-props bootstrap.servers=$BOOTSTRAP $one 2>&1)
		has "$out" "^$records records sent"
	done
	local messages=--messages list=--broker-list
	[ "$java_version" = "$KAFKA_OLD_VERSION" ] || list=--bootstrap-server
	out=$(tool ConsumerPerformance $b --topic perf --messages $((3 * records)) --timeout 60000 2>&1)
	is "$(tail -n 1 <<<"$out" | cut -d, -f5 | tr -d ' ')" $((3 * records)) "what ConsumerPerformance read"
	is "$(tool GetOffsetShell $list "$BOOTSTRAP" --topic perf | awk -F: '{ n += $3 } END { print n }')" $((3 * records))

	step "VerifiableProducer and VerifiableConsumer"
	tool TopicCommand $b --create --topic verified --partitions 3 --replication-factor 1
	tool VerifiableProducer $b --topic verified --max-messages $records --acks -1 >produced
	is "$(grep -c '"name":"producer_send_success"' produced)" "$records"
	has "$(tail -n 1 produced)" "\"name\":\"tool_data\".*|shutdown_complete"
	local k
	for k in 1 2; do
		tool_exec VerifiableConsumer $b --topic verified --group-id verifiers --max-messages $records --reset-policy earliest >consumed-$k &
		eval "consumer$k=$!"
	done
	local i
	for i in $(seq 120); do
		k=$(consumed)
		[ "$k" -lt "$records" ] || break
		sleep 0.5
	done
	sleep 1
	kill $consumer1 $consumer2 2>/dev/null || true
	wait $consumer1 $consumer2 || true
	is "$(consumed)" "$records" "what both consumers read"
	has "$(cat consumed-1)" '"name":"partitions_assigned"'
	has "$(cat consumed-2)" '"name":"partitions_assigned"'
	has "$(tool ConsumerGroupCommand $b --describe --group verifiers)" 'verifiers +verified'
	is "$(tool ConsumerGroupCommand $b --describe --group verifiers | awk '$2 == "verified" { n += $(NF-3) } END { print n + 0 }')" 0 "the lag"
}

# consumed: how many records the VerifiableConsumers say they read.
consumed() {
	cat consumed-1 consumed-2 | python3 -c '
import json, sys
print(sum(e["count"] for e in map(json.loads, sys.stdin) if e["name"] == "records_consumed"))'
}

source "$COMPAT/java/cluster.sh"
