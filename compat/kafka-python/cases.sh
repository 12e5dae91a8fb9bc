# kafka-python: 2.0.2, which many still have, and the newest.

KAFKA_PYTHON=3.0.12
KAFKA_PYTHON_OLD=2.0.2
CODECS_PYTHON="python-snappy==0.7.3 lz4==4.4.4 zstandard==0.25.0"

case_add kafka-python kafka-python $KAFKA_PYTHON quick install_kafka_python kafka_python 120
case_add kafka-python-old kafka-python $KAFKA_PYTHON_OLD quick install_kafka_python_old kafka_python_old 120

install_kafka_python() { venv kafka-python-$KAFKA_PYTHON kafka-python==$KAFKA_PYTHON $CODECS_PYTHON; }
install_kafka_python_old() { venv kafka-python-$KAFKA_PYTHON_OLD kafka-python==$KAFKA_PYTHON_OLD $CODECS_PYTHON; }
kafka_python() { "$CACHE/python/kafka-python-$KAFKA_PYTHON/bin/python" "$COMPAT/kafka-python/round.py" "$BOOTSTRAP"; }
kafka_python_old() {
	local python=$CACHE/python/kafka-python-$KAFKA_PYTHON_OLD/bin/python
	"$python" -c 'import sys; sys.exit(sys.version_info >= (3, 12))' || skip "kafka-python $KAFKA_PYTHON_OLD does not run on Python 3.12 and newer"
	"$python" "$COMPAT/kafka-python/round.py" "$BOOTSTRAP"
}
