# confluent-kafka for Python and for Go: both bring librdkafka.

CONFLUENT_PYTHON=2.16.1
CONFLUENT_GO=v2.11.1

case_add confluent-python confluent-kafka $CONFLUENT_PYTHON quick install_confluent_python confluent_python
case_add confluent-go confluent-kafka-go $CONFLUENT_GO quick install_confluent_go confluent_go

install_confluent_python() { venv confluent-kafka-$CONFLUENT_PYTHON confluent-kafka==$CONFLUENT_PYTHON; }
confluent_python() { "$CACHE/python/confluent-kafka-$CONFLUENT_PYTHON/bin/python" "$COMPAT/confluent/round.py" "$BOOTSTRAP"; }

install_confluent_go() {
	apt_need gcc gcc libc6-dev
	go_program confluent 1
}
confluent_go() { "$CACHE/go/confluent" "$BOOTSTRAP"; }
