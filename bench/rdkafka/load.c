// load drives a broker with librdkafka: produce as fast as it goes, consume what is there, or both at a paced rate with
// the latency from one end to the other. It prints one line of JSON.
//
//   load produce BROKERS TOPIC COUNT SIZE [property=value ...]
//   load consume BROKERS TOPIC COUNT [property=value ...]
//   load latency BROKERS TOPIC COUNT SIZE RATE [property=value ...]
//
// Payloads are random bytes: an identical message would compress to nothing and say nothing about compression.
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what, const char *why) {
	fprintf(stderr, "load: %s: %s\n", what, why);
	exit(1);
}

static int64_t *latencies;
static atomic_long delivered, failed, received;
static long count;
static int deliveries; // latencies are those of deliveries

static int ascending(const void *a, const void *b) {
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static double percentile(long n, double q) {
	if (n == 0)
		return 0;
	long i = (long)(q * n);
	return latencies[i < n ? i : n - 1] / 1e6;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
	(void)rk, (void)opaque;
	if (m->err) {
		if (atomic_fetch_add(&failed, 1) == 0)
			fprintf(stderr, "load: %s\n", rd_kafka_err2str(m->err));
		return;
	}
	long n = atomic_fetch_add(&delivered, 1);
	if (deliveries && n < count)
		latencies[n] = now_ns() - (int64_t)(intptr_t)m->_private;
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *brokers, int argc, char **argv) {
	char err[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, err, sizeof err);
	if (type == RD_KAFKA_PRODUCER) {
		rd_kafka_conf_set(conf, "queue.buffering.max.messages", "500000", err, sizeof err);
		rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	} else {
		rd_kafka_conf_set(conf, "group.id", "load", err, sizeof err);
		rd_kafka_conf_set(conf, "enable.auto.commit", "false", err, sizeof err);
		rd_kafka_conf_set(conf, "auto.offset.reset", "earliest", err, sizeof err);
	}
	for (int i = 0; i < argc; i++) {
		char *eq = strchr(argv[i], '=');
		if (!eq)
			die("property", argv[i]);
		*eq = 0;
		if (strncmp(argv[i], type == RD_KAFKA_PRODUCER ? "c:" : "p:", 2) != 0) {
			const char *name = argv[i][1] == ':' ? argv[i] + 2 : argv[i];
			if (rd_kafka_conf_set(conf, name, eq + 1, err, sizeof err) != RD_KAFKA_CONF_OK)
				die(name, err);
		}
		*eq = '=';
	}
	rd_kafka_t *rk = rd_kafka_new(type, conf, err, sizeof err);
	if (!rk)
		die("client", err);
	return rk;
}

static void fill(char *p, long n, uint64_t *seed) {
	for (long i = 0; i < n; i++) {
		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		p[i] = "abcdefghijklmnopqrstuvwxyz012345"[*seed >> 59];
	}
}

// warm_up sends one record. A producer takes up to a second to find its brokers, which is nothing that a broker can help.
// It is stamped, because a reader may see it.
static void warm_up(rd_kafka_t *rk, const char *topic, long size) {
	char *message = calloc(1, size > 8 ? size : 8);
	int64_t at = now_ns();
	memcpy(message, &at, sizeof at);
	rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE(message, size),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
	if (rd_kafka_flush(rk, 60000))
		die("flush", "the first record timed out");
	free(message);
	atomic_store(&delivered, 0);
}

static void produce(rd_kafka_t *rk, const char *topic, long n, long size, double rate, int stamp) {
	uint64_t seed = 42;
	long pool = 4 << 20;
	char *bytes = malloc(pool + size), *message = malloc(size);
	fill(bytes, pool + size, &seed);
	int64_t begin = now_ns();
	for (long i = 0; i < n; i++) {
		int64_t due = rate > 0 ? begin + (int64_t)(i * 1e9 / rate) : 0;
		while (rate > 0) {
			int64_t ahead = due - now_ns();
			if (ahead <= 0)
				break;
			rd_kafka_poll(rk, 0);
			if (ahead > 200000) {
				struct timespec t = {0, 100000};
				nanosleep(&t, NULL);
			}
		}
		int64_t at = rate > 0 ? due : now_ns();
		memcpy(message, bytes + (i * 131) % pool, size);
		if (stamp)
			memcpy(message, &at, sizeof at);
		for (;;) {
			rd_kafka_resp_err_t e = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE(message, size),
				RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE((void *)(intptr_t)at), RD_KAFKA_V_END);
			if (!e)
				break;
			if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				die("produce", rd_kafka_err2str(e));
			rd_kafka_poll(rk, 10);
		}
		if (i % 64 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (rd_kafka_flush(rk, 120000))
		die("flush", "timed out");
}

static void report(const char *mode, long n, double bytes, double seconds, long latency) {
	if (latency)
		qsort(latencies, latency, sizeof *latencies, ascending);
	printf("{\"mode\":\"%s\",\"records\":%ld,\"seconds\":%.3f,\"records_per_s\":%.0f,\"mb_per_s\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"failed\":%ld}\n",
		mode, n, seconds, n / seconds, bytes / 1e6 / seconds, percentile(latency, .5), percentile(latency, .99), percentile(latency, .999), atomic_load(&failed));
}

static double consume(rd_kafka_t *rk, const char *topic, long n, int stamped, double *bytes, atomic_int *ready) {
	const struct rd_kafka_metadata *md;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	if (rd_kafka_metadata(rk, 0, rkt, &md, 10000))
		die("metadata", topic);
	if (md->topics[0].partition_cnt == 0)
		die("no such topic", topic);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
	for (int i = 0; i < md->topics[0].partition_cnt; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = stamped ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_metadata_destroy(md);
	if (rd_kafka_assign(rk, list))
		die("assign", topic);
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
	static rd_kafka_message_t *batch[2000];
	int64_t begin = 0, quiet = now_ns();
	if (ready) {
		// The end offsets are looked up in the background: records produced before that would be missed.
		rd_kafka_consume_batch_queue(queue, 1500, batch, 1);
		atomic_store(ready, 1);
	}
	long got = 0;
	while (got < n) {
		// A batch waits until it is full, so whoever measures latency takes messages one by one.
		ssize_t k = stamped ? (batch[0] = rd_kafka_consume_queue(queue, 100)) != NULL
		                    : rd_kafka_consume_batch_queue(queue, 100, batch, 2000);
		int64_t at = now_ns();
		if (k > 0)
			quiet = at;
		else if (at - quiet > 30000000000LL)
			die("consume", "nothing came for 30 s");
		for (ssize_t i = 0; i < k; i++) {
			if (!batch[i]->err && got < n) {
				if (!begin)
					begin = at;
				*bytes += batch[i]->len;
				if (stamped && batch[i]->len >= 8) {
					int64_t sent;
					memcpy(&sent, batch[i]->payload, 8);
					latencies[got] = at - sent;
				}
				got++;
			}
			rd_kafka_message_destroy(batch[i]);
		}
		atomic_store(&received, got);
	}
	return (now_ns() - begin) / 1e9;
}

struct reader {
	rd_kafka_t *rk;
	const char *topic;
	double bytes, seconds;
	atomic_int ready;
};

static void *read_all(void *p) {
	struct reader *r = p;
	r->seconds = consume(r->rk, r->topic, count, 1, &r->bytes, &r->ready);
	return NULL;
}

int main(int argc, char **argv) {
	if (argc < 5)
		die("usage", "load produce|consume|latency BROKERS TOPIC COUNT ...");
	const char *mode = argv[1], *brokers = argv[2], *topic = argv[3];
	count = atol(argv[4]);
	latencies = calloc(count + 1, sizeof *latencies);
	if (!strcmp(mode, "produce")) {
		long size = atol(argv[5]);
		rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, brokers, argc - 6, argv + 6);
		warm_up(rk, topic, size);
		deliveries = 1;
		int64_t begin = now_ns();
		produce(rk, topic, count, size, 0, 0);
		report(mode, atomic_load(&delivered), (double)count * size, (now_ns() - begin) / 1e9, atomic_load(&delivered));
		return atomic_load(&failed) != 0;
	}
	if (!strcmp(mode, "consume")) {
		double bytes = 0;
		rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, brokers, argc - 5, argv + 5);
		double seconds = consume(rk, topic, count, 0, &bytes, NULL);
		report(mode, count, bytes, seconds, 0);
		return 0;
	}
	if (argc < 7)
		die("usage", "load latency BROKERS TOPIC COUNT SIZE RATE");
	struct reader r = {.rk = client(RD_KAFKA_CONSUMER, brokers, argc - 7, argv + 7), .topic = topic};
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, brokers, argc - 7, argv + 7);
	pthread_t thread;
	pthread_create(&thread, NULL, read_all, &r);
	while (!atomic_load(&r.ready))
		usleep(1000);
	warm_up(rk, topic, atol(argv[5]));
	produce(rk, topic, count - 1, atol(argv[5]), atof(argv[6]), 1); // the reader has counted one already
	pthread_join(thread, NULL);
	report(mode, count, r.bytes, r.seconds, count);
	return atomic_load(&failed) != 0;
}
