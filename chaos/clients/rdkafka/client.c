// client is librdkafka at work in a chaos run: an idempotent producer, a consumer of all partitions, and members of a group that come and
// go. It prints what it sees as lines of the history (see ../README.md) and is told on its standard input what to do.
//
//   client BROKERS TOPIC PARTITIONS BEGAN PRODUCER RATE SEED
//
// BEGAN is the monotonic clock's time, in nanoseconds, at which the run began; PRODUCER the number that its records carry; RATE its records
// per second. The lines that it reads: "settle" ends the producer once it was answered, "end" (or the end of the input) everything.
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST_PARTITIONS 256
#define IN_FLIGHT 64
#define GROUP "chaos-rdkafka"

static const char *brokers, *topic;
static int partitions, producer;
static int64_t began;
static double rate;
static atomic_bool settling, ending;

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - began;
}

static void rest(long ms) {
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

// say prints one line: of a kind, by somebody, with fields in JSON.
static void say(const char *kind, const char *who, const char *fields, ...) {
	va_list arguments;
	va_start(arguments, fields);
	flockfile(stdout);
	printf("{\"kind\":\"%s\",\"who\":\"%s\",\"what\":{", kind, who);
	vprintf(fields, arguments);
	printf("}}\n");
	fflush(stdout);
	funlockfile(stdout);
	va_end(arguments);
}

static void report(const char *who, const char *what, const char *why) {
	char text[512];
	snprintf(text, sizeof text, "%s: %s", what, why);
	for (char *p = text; *p; p++)
		if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
			*p = ' ';
	say("error", who, "\"text\":\"%s\"", text);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
	char why[512];
	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
		report("rdkafka", name, why);
		exit(2);
	}
}

static rd_kafka_conf_t *conf_of(const char *who) {
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	set(conf, "bootstrap.servers", brokers);
	set(conf, "client.id", who);
	set(conf, "log_level", "0");
	return conf;
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *who) {
	char why[512];
	rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
	if (!rk) {
		report(who, "client", why);
		exit(2);
	}
	return rk;
}

// A producer. Every partition has its own count of records, and of those that were not answered.

struct sent {
	int partition;
	long n;
	int64_t at;
};

static atomic_int waiting[MOST_PARTITIONS];
static char producer_name[64];

static void say_send(const struct sent *s, const char *outcome, int64_t offset, int64_t ended) {
	say("send", producer_name, "\"value\":{\"producer\":%d,\"partition\":%d,\"n\":%ld},\"outcome\":\"%s\",\"offset\":%lld,\"began\":%lld,\"ended\":%lld",
		producer, s->partition, s->n, outcome, (long long)offset, (long long)s->at, (long long)ended);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
	(void)rk, (void)opaque;
	struct sent *s = m->_private;
	atomic_fetch_sub(&waiting[s->partition], 1);
	say_send(s, m->err ? "unknown" : "acknowledged", m->err ? -1 : m->offset, now());
	if (m->err)
		report(producer_name, "delivery", rd_kafka_err2str(m->err));
	free(s);
}

static rd_kafka_t *new_producer(void) {
	rd_kafka_conf_t *conf = conf_of(producer_name);
	set(conf, "enable.idempotence", "true");
	set(conf, "linger.ms", "2");
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	return client(RD_KAFKA_PRODUCER, conf, producer_name);
}

// unless_fatal replaces a producer that has given up for good: its records have been reported as failed.
static rd_kafka_t *unless_fatal(rd_kafka_t *rk) {
	char why[512];
	if (!rd_kafka_fatal_error(rk, why, sizeof why))
		return rk;
	report(producer_name, "fatal", why);
	rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	rd_kafka_flush(rk, 1000);
	rd_kafka_destroy(rk);
	return new_producer();
}

static void send_one(rd_kafka_t *rk, int partition, long n, const char *padding) {
	char text[512];
	struct sent *s = malloc(sizeof *s);
	*s = (struct sent){partition, n, now()};
	say_send(s, "pending", -1, 0);
	int size = snprintf(text, sizeof text, "%d|%d|%ld|%s", producer, partition, n, padding);
	atomic_fetch_add(&waiting[partition], 1);
	rd_kafka_resp_err_t err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_VALUE(text, size),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(s), RD_KAFKA_V_END);
	if (err) {
		atomic_fetch_sub(&waiting[partition], 1);
		report(producer_name, "produce", rd_kafka_err2str(err));
		free(s);
	}
}

static void *produce(void *unused) {
	(void)unused;
	char padding[121];
	memset(padding, 'x', 120);
	padding[120] = 0;
	rd_kafka_t *rk = new_producer();
	long next[MOST_PARTITIONS] = {0};
	int64_t due = now();
	for (int partition = 0; !settling && !ending; partition = (partition + 1) % partitions) {
		while (due > now() && !settling && !ending)
			rd_kafka_poll(rk, 1);
		due += (int64_t)(1e9 / rate);
		if (due < now() - 1000000000)
			due = now(); // it was held up: what was not sent is not made up for
		rd_kafka_poll(rk, 0);
		rk = unless_fatal(rk);
		if (waiting[partition] < IN_FLIGHT)
			send_one(rk, partition, next[partition]++, padding);
	}
	while (rd_kafka_outq_len(rk) > 0 && !ending)
		rd_kafka_poll(rk, 100);
	say("settled", producer_name, "");
	while (!ending)
		rest(50);
	rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	rd_kafka_flush(rk, 1000);
	rd_kafka_destroy(rk);
	return NULL;
}

// Consumers.

static int say_read(const char *who, const rd_kafka_message_t *m) {
	int by, partition;
	long n;
	char text[256];
	int size = m->len < sizeof text - 1 ? (int)m->len : (int)sizeof text - 1;
	memcpy(text, m->payload, size);
	text[size] = 0;
	if (sscanf(text, "%d|%d|%ld|", &by, &partition, &n) != 3) {
		say("strange", who, "\"text\":\"offset %lld of partition %d is no record of ours\"", (long long)m->offset, m->partition);
		return 0;
	}
	say("read", who, "\"partition\":%d,\"offset\":%lld,\"value\":{\"producer\":%d,\"partition\":%d,\"n\":%ld},\"at\":%lld",
		m->partition, (long long)m->offset, by, partition, n, (long long)now());
	return 1;
}

static void *consume(void *unused) {
	(void)unused;
	const char *who = "rdkafka-consumer";
	rd_kafka_conf_t *conf = conf_of(who);
	set(conf, "group.id", "chaos-rdkafka-without-commits");
	set(conf, "enable.auto.commit", "false");
	set(conf, "auto.offset.reset", "error");
	say("consumer", who, "\"group\":\"\"");
	rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf, who);
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
	for (int i = 0; i < partitions; i++)
		rd_kafka_topic_partition_list_add(all, topic, i)->offset = 0;
	rd_kafka_assign(rk, all);
	rd_kafka_topic_partition_list_destroy(all);
	while (!ending) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
		if (!m)
			continue;
		if (m->err)
			report(who, "poll", rd_kafka_message_errstr(m));
		else
			say_read(who, m);
		rd_kafka_message_destroy(m);
	}
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	return NULL;
}

struct member {
	char name[64];
	int64_t pending[MOST_PARTITIONS]; // what is to be committed, or -1
};

static void say_commits(struct member *m, const int64_t *began_at, int acked, int64_t ended) {
	for (int i = 0; i < partitions; i++)
		if (m->pending[i] >= 0)
			say("commit", m->name, "\"group\":\"" GROUP "\",\"member\":\"%s\",\"partition\":%d,\"offset\":%lld,\"acked\":%s,\"began\":%lld,\"ended\":%lld",
				m->name, i, (long long)m->pending[i], acked ? "true" : "false", (long long)*began_at, (long long)ended);
}

static void commit_pending(rd_kafka_t *rk, struct member *m) {
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
	for (int i = 0; i < partitions; i++)
		if (m->pending[i] >= 0)
			rd_kafka_topic_partition_list_add(list, topic, i)->offset = m->pending[i];
	if (list->cnt > 0) {
		int64_t at = now();
		say_commits(m, &at, 0, 0);
		rd_kafka_resp_err_t err = rd_kafka_commit(rk, list, 0);
		for (int i = 0; !err && i < list->cnt; i++)
			err = list->elems[i].err;
		say_commits(m, &at, !err, now());
		if (err)
			report(m->name, "commit", rd_kafka_err2str(err));
		for (int i = 0; i < partitions; i++)
			m->pending[i] = -1;
	}
	rd_kafka_topic_partition_list_destroy(list);
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *opaque) {
	struct member *m = opaque;
	if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		for (int i = 0; i < list->cnt; i++)
			say("assigned", m->name, "\"partition\":%d,\"at\":%lld", list->elems[i].partition, (long long)now());
		rd_kafka_assign(rk, list);
		return;
	}
	int lost = rd_kafka_assignment_lost(rk);
	if (!lost)
		commit_pending(rk, m);
	for (int i = 0; i < partitions; i++)
		m->pending[i] = -1;
	for (int i = 0; i < list->cnt; i++)
		say("gone", m->name, "\"partition\":%d,\"at\":%lld,\"lost\":%s", list->elems[i].partition, (long long)now(), lost ? "true" : "false");
	rd_kafka_assign(rk, NULL);
}

static void live(struct member *m, int64_t until) {
	rd_kafka_conf_t *conf = conf_of(m->name);
	set(conf, "group.id", GROUP);
	set(conf, "session.timeout.ms", "10000");
	set(conf, "heartbeat.interval.ms", "1000");
	set(conf, "enable.auto.commit", "false");
	set(conf, "auto.offset.reset", "earliest");
	rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
	rd_kafka_conf_set_opaque(conf, m);
	for (int i = 0; i < partitions; i++)
		m->pending[i] = -1;
	say("consumer", m->name, "\"group\":\"" GROUP "\"");
	rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf, m->name);
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
	rd_kafka_subscribe(rk, topics);
	rd_kafka_topic_partition_list_destroy(topics);
	while (!ending && now() < until) {
		int64_t round = now() + 200000000;
		rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 200);
		for (int count = 1; message; count++) {
			if (message->err)
				report(m->name, "poll", rd_kafka_message_errstr(message));
			else if (say_read(m->name, message))
				m->pending[message->partition] = message->offset + 1;
			rd_kafka_message_destroy(message);
			message = count < 500 && now() < round ? rd_kafka_consumer_poll(rk, 20) : NULL;
		}
		commit_pending(rk, m);
	}
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
}

struct slot {
	int number;
	unsigned seed;
};

static void *join(void *p) {
	struct slot *s = p;
	struct member *m = malloc(sizeof *m);
	for (int life = 0; !ending; life++) {
		snprintf(m->name, sizeof m->name, "rdkafka-member-%d.%d", s->number, life);
		live(m, now() + (int64_t)(20 + rand_r(&s->seed) % 40) * 1000000000);
	}
	free(m);
	return NULL;
}

int main(int argc, char **argv) {
	if (argc != 8 || (partitions = atoi(argv[3])) < 1 || partitions > MOST_PARTITIONS) {
		fprintf(stderr, "usage: client BROKERS TOPIC PARTITIONS BEGAN PRODUCER RATE SEED\n");
		return 2;
	}
	brokers = argv[1], topic = argv[2], began = atoll(argv[4]), producer = atoi(argv[5]), rate = atof(argv[6]);
	snprintf(producer_name, sizeof producer_name, "producer-%d", producer);
	pthread_t threads[4];
	struct slot slots[2] = {{0, (unsigned)atoi(argv[7])}, {1, (unsigned)atoi(argv[7]) + 1}};
	pthread_create(&threads[0], NULL, produce, NULL);
	pthread_create(&threads[1], NULL, consume, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[2 + i], NULL, join, &slots[i]);
	char line[64];
	while (fgets(line, sizeof line, stdin) && strcmp(line, "end\n"))
		if (!strcmp(line, "settle\n"))
			settling = 1;
	ending = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
