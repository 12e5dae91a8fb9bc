# Takes clients from their registries, each once, into compat/.cache. Sourced by compat/run.

KAFKA_VERSION=4.3.1
KAFKA_OLD_VERSION=2.8.2

# apt_need COMMAND PACKAGE…: the packages, unless the command is there.
apt_need() {
	local command=$1
	shift
	command -v "$command" >/dev/null && return
	[ "$(id -u)" -eq 0 ] || { echo "there is no $command: install $*"; return 1; }
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" ||
		{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"; }
}

# once NAME COMMAND…: runs the command with the new folder $CACHE/NAME as its last argument, unless it has done so.
# What is half done is done anew.
once() {
	local folder=$CACHE/$1
	shift
	[ ! -e "$folder/.done" ] || return 0
	rm -rf "$folder"
	mkdir -p "$folder"
	"$@" "$folder"
	touch "$folder/.done"
}

# The jars of Apache Kafka's tools, clients and broker.
install_java() {
	apt_need javac default-jdk-headless
	apt_need mvn maven
	apt_need python3 python3
	once "java/$KAFKA_VERSION" java_jars "$COMPAT/java/pom-new.xml"
}
install_java_old() {
	install_java
	once "java/$KAFKA_OLD_VERSION" java_jars "$COMPAT/java/pom-old.xml"
}
java_jars() { # POM FOLDER
	mvn -q -B -f "$1" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$2" \
		-Dkafka="$(basename "$2")"
}

# venv NAME REQUIREMENT…: a Python environment in $CACHE/python/NAME.
venv() {
	local name=$1
	shift
	python3 -c 'import ensurepip, venv' 2>/dev/null || apt_need no-such-command python3-venv
	once "python/$name" venv_make "$@"
}
venv_make() { # REQUIREMENT… FOLDER
	local folder=${*: -1}
	python3 -m venv "$folder"
	"$folder/bin/pip" install -q --disable-pip-version-check "${@:1:$#-1}"
}

# go_program NAME: builds compat/NAME, a module of its own, to $CACHE/go/NAME.
go_program() {
	mkdir -p "$CACHE/go"
	(cd "$COMPAT/$1" && CGO_ENABLED=${2:-0} go build -mod=readonly -o "$CACHE/go/$1" .)
}

# go_module MODULE@VERSION FOLDER: a copy, to write in, of a module as published.
go_module() {
	local from
	from=$(cd / && go mod download -json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
	mkdir -p "$2"
	cp -r "$from/." "$2"
	chmod -R u+w "$2"
}
