# Starts the broker or brokers that a case speaks to: Gregor, or Apache Kafka as the judge. Sourced by compat/run.
#
# broker_start NAME SETTINGS NODES exports BOOTSTRAP (host:port), PORT and LOG_DIR, the folder of the folders of partitions.
# SETTINGS are lines of key=value that win over what every broker is told. With several NODES, BOOTSTRAP is the first and
# BOOTSTRAPS are all, NODES_DIR has what scripts/keep-running tells of them, and PORTS are their ports.

BROKER=
BROKER_LOG=/dev/null

# Both are told the same. Kafka's own server.properties sets these for a single node; Gregor needs the first alone.
settings=$'group.initial.rebalance.delay.ms=0'

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

broker_start() {
	PORT=$(free_port)
	BOOTSTRAP=127.0.0.1:$PORT BOOTSTRAPS=127.0.0.1:$PORT PORTS=$PORT
	BROKER_LOG=$TEMPORARY/$1.broker.log
	NODES_DIR=$TEMPORARY/$1.data
	local one _ restart=
	for _ in $(seq 2 "$3"); do
		one=$(free_port)
		PORTS=$PORTS,$one BOOTSTRAPS=$BOOTSTRAPS,127.0.0.1:$one
	done
	[ "$3" -eq 1 ] || restart=1
	LOG_DIR=$NODES_DIR/node-0/logs
	[ "$AGAINST" = gregor ] || LOG_DIR=$NODES_DIR/node-0/data
	RESTART=$restart cluster "$NODES_DIR" "$PORTS" "$settings"$'\n'"$2" >"$BROKER_LOG" 2>&1 &
	BROKER=$!
	export BOOTSTRAP BOOTSTRAPS PORT PORTS LOG_DIR BROKER_LOG NODES_DIR
	for one in ${PORTS//,/ }; do wait_for "$one" || return 1; done
}

# cluster DIR PORTS SETTINGS: nodes in the foreground, in place of the shell: call it in one of its own. FIRST_ID, RACKS,
# ADVERTISED, INTERNAL and RESTART are those of scripts/start-cluster.
cluster() {
	case $AGAINST in
	gregor) PORTS=$2 DIR=$1 CONFIG=$3 exec "$ROOT/scripts/start-cluster" ;;
	kafka) kafka_cluster "$@" ;;
	*) echo "AGAINST is gregor or kafka, and not $AGAINST" >&2; return 1 ;;
	esac
}

# kafka_cluster is the same of Apache Kafka: each node is a broker and votes.
kafka_cluster() {
	local dir=$1 ports=(${2//,/ }) internal advertised racks
	local first=${FIRST_ID:-0} jars="$CACHE/java/$KAFKA_VERSION/*" count=${#ports[@]} voters= n controllers=()
	[ -e "$CACHE/java/$KAFKA_VERSION/.done" ] || return 1
	mkdir -p "$dir"
	IFS=, read -ra internal <<<"${INTERNAL:-}"
	IFS=, read -ra advertised <<<"${ADVERTISED:-}"
	IFS=, read -ra racks <<<"${RACKS:-}"
	local copies=$((count < 3 ? count : 3))
	for n in "${!ports[@]}"; do
		controllers+=("$(free_port)")
		voters=$voters,$((first + n))@127.0.0.1:${controllers[n]}
	done
	local nodes=()
	for n in "${!ports[@]}"; do
		local id=$((first + n)) file=$dir/node-$((first + n)).properties
		cat >"$file" <<-END
			node.id=$id
			process.roles=broker,controller
			listeners=PLAINTEXT://127.0.0.1:${ports[n]},CONTROLLER://127.0.0.1:${controllers[n]}${internal[n]:+,INTERNAL://127.0.0.1:${internal[n]:-}}
			advertised.listeners=PLAINTEXT://${advertised[n]:-127.0.0.1:${ports[n]}}${internal[n]:+,INTERNAL://127.0.0.1:${internal[n]:-}}
			listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT
			${internal[n]:+inter.broker.listener.name=INTERNAL}
			controller.listener.names=CONTROLLER
			controller.quorum.voters=${voters#,}
			log.dirs=$dir/node-$id/data
			${racks[n]:+broker.rack=${racks[n]}}
			default.replication.factor=$copies
			offsets.topic.replication.factor=$copies
			transaction.state.log.replication.factor=$copies
			transaction.state.log.min.isr=1
			share.coordinator.state.topic.replication.factor=$copies
			share.coordinator.state.topic.min.isr=1
			$3
		END
		java -cp "$jars" kafka.tools.StorageTool format -t AAAAAAAAQACAAAAAAAAAAA -c "$file" || return 1
		${RESTART:+"$ROOT/scripts/keep-running" "$dir/node-$id"} java -Xmx1g -cp "$jars" kafka.Kafka "$file" &
		nodes+=($!)
	done
	trap 'kill -TERM "${nodes[@]}"; wait; exit' TERM INT HUP
	wait -n
	# Without RESTART, the end of one is the end of all.
	kill -TERM "${nodes[@]}" 2>/dev/null
	wait
}

# wait_for PORT: until somebody listens there, or the broker has ended.
wait_for() {
	local _
	for _ in $(seq 600); do
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
	for _ in $(seq 200); do
		kill -0 "$BROKER" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$BROKER" 2>/dev/null
	wait "$BROKER" 2>/dev/null
	BROKER=
	# The data of a case can be large, and its logs tell what went wrong.
	[ -n "${KEEP:-}" ] || rm -rf "$TEMPORARY"/*.data
}

# What cases of clusters say to single nodes, which are named by their ids, and ask of all. They run in a shell of their own.

# node_port ID
node_port() { echo "$PORTS" | cut -d, -f$(($1 - ${FIRST_ID:-0} + 1)); }

# node_down ID [SIGNAL]: ends a node, by KILL unless another signal is named, and keeps it down.
node_down() {
	local process _
	process=$(cat "$NODES_DIR/node-$1.pid")
	touch "$NODES_DIR/node-$1.down"
	kill "-${2:-KILL}" "$process"
	for _ in $(seq 600); do
		kill -0 "$process" 2>/dev/null || return 0
		sleep 0.05
	done
	die "node $1 does not end"
}

# node_up ID: starts a node that is down, and waits until it listens.
node_up() {
	local _
	rm -f "$NODES_DIR/node-$1.down"
	for _ in $(seq 600); do
		(exec 3<>"/dev/tcp/127.0.0.1/$(node_port "$1")") 2>/dev/null && return 0
		sleep 0.1
	done
	die "node $1 does not start"
}

# until_true SECONDS COMMAND…: tries it until it succeeds.
until_true() {
	local end=$((SECONDS + $1))
	while ! "${@:2}"; do
		[ "$SECONDS" -lt "$end" ] || die "not within $1 s: ${*:2}"
		sleep 0.3
	done
}

# serving COUNT: so many nodes serve, and any of them may be killed: three vote on the metadata, which takes a moment longer.
serving() {
	gregor cluster describe -o json | python3 -c '
import json, sys
d = json.load(sys.stdin)
nodes = sum(not b["fenced"] for b in d["brokers"])
voters = sum(m["role"] != "observer" for m in d["quorum"]["members"])
sys.exit(nodes != int(sys.argv[1]) or voters < 3)' "$1"
}

# in_sync TOPIC: every replica of it is.
in_sync() {
	gregor topic describe "$1" -o json | python3 -c 'import json, sys; sys.exit(any(len(p["isr"]) < len(p["replicas"]) for p in json.load(sys.stdin)[0]["partition_list"]))'
}

# led_by ID TOPIC [FLAG…]: the first of a topic's partitions that the node leads.
led_by() {
	gregor topic describe "$2" "${@:3}" -o json | python3 -c '
import json, sys
print(*[p["partition"] for p in json.load(sys.stdin)[0]["partition_list"] if p["leader"] == int(sys.argv[1])][:1])' "$1"
}
