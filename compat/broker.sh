# Starts the broker that a case speaks to: Gregor, or Apache Kafka as the judge. Sourced by compat/run.
#
# broker_start NAME SETTINGS NODES exports BOOTSTRAP (host:port), PORT and LOG_DIR, the folder of the folders of partitions.
# SETTINGS are lines of key=value that win over what every broker is told. With several NODES, BOOTSTRAP is the first.

BROKER=
BROKER_LOG=/dev/null

# Both are told the same. Kafka's own server.properties sets these for a single node; Gregor needs the first alone.
settings=$'group.initial.rebalance.delay.ms=0'
settings_kafka=$'offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1'

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

broker_start() {
	PORT=$(free_port)
	BOOTSTRAP=127.0.0.1:$PORT
	BROKER_LOG=$TEMPORARY/$1.broker.log
	local data=$TEMPORARY/$1.data told=$settings$'\n'$2 ports=$PORT one _
	case $AGAINST in
	gregor)
		LOG_DIR=$data/node-0/logs
		for _ in $(seq 2 "$3"); do ports=$ports,$(free_port); done
		PORTS=$ports DIR=$data CONFIG=$told "$ROOT/scripts/start-cluster" >"$BROKER_LOG" 2>&1 &
		BROKER=$!
		;;
	kafka)
		LOG_DIR=$data
		[ -e "$CACHE/java/$KAFKA_VERSION/.done" ] || return 1
		local properties=$TEMPORARY/$1.properties controller
		controller=$(free_port)
		cat >"$properties" <<-END
			node.id=0
			process.roles=broker,controller
			listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$controller
			controller.listener.names=CONTROLLER
			controller.quorum.voters=0@127.0.0.1:$controller
			log.dirs=$data
			$settings_kafka
			$told
		END
		local jars="$CACHE/java/$KAFKA_VERSION/*"
		java -cp "$jars" kafka.tools.StorageTool format -t AAAAAAAAQACAAAAAAAAAAA -c "$properties" >>"$BROKER_LOG" 2>&1 || return 1
		java -Xmx1g -cp "$jars" kafka.Kafka "$properties" >>"$BROKER_LOG" 2>&1 &
		BROKER=$!
		;;
	*)
		echo "AGAINST is gregor or kafka, and not $AGAINST" >&2
		return 1
		;;
	esac
	export BOOTSTRAP PORT LOG_DIR BROKER_LOG
	for one in ${ports//,/ }; do wait_for "$one" || return 1; done
}

# wait_for PORT: until somebody listens there, or the broker has ended.
wait_for() {
	local _
	for _ in $(seq 300); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
		broker_alive || return 1
		sleep 0.1
	done
	return 1
}

broker_alive() { [ -n "$BROKER" ] && kill -0 "$BROKER" 2>/dev/null; }

broker_stop() {
	[ -n "$BROKER" ] || return 0
	kill -TERM "$BROKER" 2>/dev/null
	for _ in $(seq 100); do
		kill -0 "$BROKER" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$BROKER" 2>/dev/null
	wait "$BROKER" 2>/dev/null
	BROKER=
	# The data of a case can be large, and its logs tell what went wrong.
	[ -n "${KEEP:-}" ] || rm -rf "$TEMPORARY"/*.data
}
