# sarama.

case_add sarama sarama v1.61.1 quick install_sarama sarama 180

install_sarama() { go_program sarama; }
sarama() { "$CACHE/go/sarama" "$BOOTSTRAP"; }
