package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// phases is how often an application is started: what it finds the second time and the third, others may have left.
const phases = 3

// inputs draws what comes in during each phase: four keys and sometimes none, null values, headers, records that come late and jumps in
// time. Of two records no two have the same time, unless they are of the same topic.
func inputs(seed uint64, number int, spec Spec, base int64, records int) [phases][]*kgo.Record {
	random := rand.New(rand.NewPCG(seed^0x5eed, uint64(number)))
	var all [phases][]*kgo.Record
	now, taken, n := base, map[int64]bool{}, 0
	lefts, rights := spec.foreign()
	for phase := range phases {
		for range records * spec.Inputs {
			now += int64(1 + random.IntN(7))
			if random.IntN(15) == 0 {
				now += 60
			}
			at := now
			if random.IntN(4) == 0 {
				at = max(base, now-int64(random.IntN(40)))
			}
			for taken[at] {
				at++
			}
			taken[at] = true
			now = max(now, at)
			in := phase
			if spec.Once {
				in = 0
			}
			r := input(random, spec, at, n)
			n++
			if in == 1 && lefts[r.Topic] || in == 2 && rights[r.Topic] {
				continue
			}
			if lefts[r.Topic] {
				if r.Key = fmt.Append(nil, n%(records*spec.Inputs)); spec.Once {
					r.Key = fmt.Append(nil, n)
				}
			}
			all[in] = append(all[in], r)
		}
	}
	return all
}

func input(random *rand.Rand, spec Spec, at int64, n int) *kgo.Record {
	topic := random.IntN(spec.Inputs)
	r := &kgo.Record{Topic: "in" + strconv.Itoa(topic), Timestamp: time.UnixMilli(at)}
	if spec.Partitions > 1 || random.IntN(25) > 0 { // without a key it could go to any partition
		r.Key = []byte{"abcd"[random.IntN(4)]}
	}
	if random.IntN(8) > 0 {
		r.Value = fmt.Appendf(nil, "%c%d", 'l'+byte(topic), n)
	}
	for i := range max(0, random.IntN(6)-3) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: fmt.Sprint("h", i), Value: []byte(strconv.Itoa(n))})
	}
	return r
}
