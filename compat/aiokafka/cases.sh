# aiokafka.

AIOKAFKA=0.14.0

case_add aiokafka aiokafka $AIOKAFKA quick install_aiokafka aiokafka 120

install_aiokafka() { venv aiokafka-$AIOKAFKA "aiokafka[snappy,lz4,zstd]==$AIOKAFKA"; }
aiokafka() { "$CACHE/python/aiokafka-$AIOKAFKA/bin/python" "$COMPAT/aiokafka/round.py" "$BOOTSTRAP"; }
