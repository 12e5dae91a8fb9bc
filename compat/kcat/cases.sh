# kcat, the command line of librdkafka, as Debian has it.

install_kcat() { apt_need kcat kcat; }
kcat_version() { dpkg-query -W -f '${Version}' kcat | sed 's/[-+].*//' >"$WORK/version"; }

case_add kcat kcat - quick install_kcat kcat_basics 120
case_add kcat-text kcat - quick install_kcat kcat_text 400
case_add kcat-cluster kcat - quick install_kcat_cluster kcat_cluster 180
case_nodes kcat-cluster 3

install_kcat_cluster() { install_kcat; install_gregor; }

kcat_basics() {
	kcat_version
	step "metadata"
	has "$(kcat -b "$BOOTSTRAP" -L)" "broker 0 at $BOOTSTRAP"
	has "$(kcat -b "$BOOTSTRAP" -L -J)" '"brokers":\[\{"id":0'

	step "a topic comes into being, with keys, headers and a partition"
	printf 'a:1\nb:2\nc:\n' | kcat -b "$BOOTSTRAP" -P -t basics -K: -H from=kcat -H empty= -p 0
	is "$(kcat -b "$BOOTSTRAP" -C -t basics -o beginning -e -q -f '%p %o %k=%s %h %S\n')" "0 0 a=1 from=kcat,empty= 1
0 1 b=2 from=kcat,empty= 1
0 2 c= from=kcat,empty= 0"

	step "a tombstone"
	printf 'gone:\n' | kcat -b "$BOOTSTRAP" -P -t basics -K: -Z -p 0
	is "$(kcat -b "$BOOTSTRAP" -C -t basics -o -1 -e -q -f '%o %k %S\n')" "3 gone -1"

	step "offsets: from, to, the last ones, by time"
	seq 1000 | kcat -b "$BOOTSTRAP" -P -t numbers -p 0
	sleep 0.05
	local now=$(($(date +%s%N) / 1000000))
	sleep 0.05
	seq 1001 1500 | kcat -b "$BOOTSTRAP" -P -t numbers -p 0
	is "$(kcat -b "$BOOTSTRAP" -C -t numbers -o 990 -c 10 -q | paste -sd' ')" "$(seq -s ' ' 991 1000)"
	is "$(kcat -b "$BOOTSTRAP" -C -t numbers -o -3 -e -q | paste -sd' ')" "1498 1499 1500"
	is "$(kcat -b "$BOOTSTRAP" -Q -t "numbers:0:$now" | tr -d ' ')" "numbers[0]offset1000"
	is "$(kcat -b "$BOOTSTRAP" -Q -t numbers:0:-2 | tr -d ' ')" "numbers[0]offset0"
	is "$(kcat -b "$BOOTSTRAP" -Q -t numbers:0:-1 | tr -d ' ')" "numbers[0]offset1500"
	is "$(kcat -b "$BOOTSTRAP" -C -t numbers -o "s@$now" -e -q | head -n 1)" 1001

	step "an idempotent producer, every acks"
	for acks in 0 1 all; do seq 100 | kcat -b "$BOOTSTRAP" -P -t "acks-$acks" -X acks=$acks; done
	seq 20000 | kcat -b "$BOOTSTRAP" -P -t once -p 0 -X enable.idempotence=true -X linger.ms=0
	for acks in 0 1 all; do is "$(kcat -b "$BOOTSTRAP" -C -t "acks-$acks" -o beginning -e -q | wc -l)" 100 "acks=$acks"; done
	is "$(kcat -b "$BOOTSTRAP" -C -t once -o beginning -e -q | md5sum)" "$(seq 20000 | md5sum)"

	step "a group, and what it committed"
	is "$(kcat -b "$BOOTSTRAP" -G readers -c 700 -q -X auto.offset.reset=earliest numbers 2>&1 | tail -n 1)" 700
	is "$(kcat -b "$BOOTSTRAP" -G readers -c 800 -q -X auto.offset.reset=earliest numbers 2>&1 | head -n 1)" 701

	step "a record larger than its topic takes is refused"
	head -c 2000000 /dev/zero | tr '\0' x >large
	has "$(kcat -b "$BOOTSTRAP" -P -t basics -p 0 -X message.max.bytes=3000000 large 2>&1 || true)" 'too large'
}

kcat_text() {
	kcat_version
	text text 52428800
	for codec in none gzip snappy lz4 zstd; do
		step "$codec: $(stat -c %s text) bytes"
		kcat -b "$BOOTSTRAP" -P -t "text-$codec" -p 0 -z $codec -l text
		kcat -b "$BOOTSTRAP" -C -t "text-$codec" -p 0 -o beginning -e -q >back
		same text back
	done
}

# Each of three nodes is killed while it leads what is produced. Every line is there once, in order, for a reader that is there all
# the while and for one that comes afterwards. kcat ends when it has lost every node once, so each reader is to outlive one.
kcat_cluster() {
	kcat_version
	local id partition lines reader
	until_true 30 serving 3
	gregor topic create lines -p 3 -r 3 -c min.insync.replicas=2
	text text "$(quick 6000000 30000000)"
	split -n l/3 -d -a 1 text part-
	lines=$(wc -l <text)
	for id in 0 1 2; do
		partition=$(led_by $id lines)
		step "kill -9 of node $id, which leads partition $partition, while it is produced to"
		[ -n "$partition" ] || die "node $id leads nothing"
		kcat -b "$BOOTSTRAPS" -C -t lines -p "$partition" -o beginning -q -u >reading 2>reading.log &
		reader=$!
		{
			head -n $((lines / 6)) part-$id
			node_down $id
			tail -n +$((lines / 6 + 1)) part-$id
		} | tee -a "want-$partition" | kcat -b "$BOOTSTRAPS" -P -t lines -p "$partition" -X enable.idempotence=true -X linger.ms=5
		# Read while the node is down, from those that are left.
		kcat -b "$BOOTSTRAPS" -C -t lines -p "$partition" -o beginning -e -q >back
		same "want-$partition" back
		until_true 30 cmp -s "want-$partition" reading
		kill $reader
		node_up $id
		until_true 120 in_sync lines
	done
	step "all of it, from all nodes"
	for partition in 0 1 2; do
		kcat -b "$BOOTSTRAPS" -C -t lines -p $partition -o beginning -e -q
	done | LC_ALL=C sort >back
	same <(LC_ALL=C sort text) back
}
