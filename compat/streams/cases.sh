# Package streams beside Java's Kafka Streams: random topologies, run by either and handed over from one to the other and back.
# SEED=n takes the topologies and inputs of a seed, ONLY=n,… some of its topologies, and REPORT=FILE gets the table.

STREAMS_VERSION=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$ROOT/streams/record/pom.xml")

case_add streams kafka-streams "$STREAMS_VERSION" quick install_streams streams_alike 2400

install_streams() {
	apt_need javac default-jdk-headless
	apt_need mvn maven
	once "java/streams-$STREAMS_VERSION" java_jars "$ROOT/streams/record/pom.xml"
	rm -rf "$CACHE/java-program-streams"
	javac -nowarn -d "$CACHE/java-program-streams" -cp "$CACHE/java/streams-$STREAMS_VERSION/*" "$COMPAT"/streams/java/*.java
	mkdir -p "$CACHE/go"
	(cd "$ROOT" && CGO_ENABLED=0 go build -o "$CACHE/go/streams" ./compat/streams)
}

streams_alike() {
	TMPDIR=$WORK "$CACHE/go/streams" -broker "$BOOTSTRAP" -java "$CACHE/java-program-streams:$CACHE/java/streams-$STREAMS_VERSION/*" \
		-seed "${SEED:-0}" -topologies "$(quick 6 36)" -only "${ONLY:-}" -report "${REPORT:-$WORK/report}"
}
