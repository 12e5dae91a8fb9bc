package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// way is a way to hurt instances.
type way struct {
	name string
	hurt func(d *day, i int) error
	back time.Duration // at most so long until it is back
}

// ways are drawn from. Those who come back within some seconds find their places in the group taken by themselves; those who stay away
// for longer than the session find others at their work.
var ways = []way{
	{"killed", (*day).kill, 2 * time.Second},
	{"killed for longer", (*day).kill, 20 * time.Second},
	{"stopped", (*day).end, 10 * time.Second},
	{"killed, state lost", func(d *day, i int) error {
		if err := d.kill(i); err != nil {
			return err
		}
		return os.RemoveAll(d.folder(i))
	}, 5 * time.Second},
	{"all killed", func(d *day, _ int) error {
		for i := range d.instances {
			if err := d.kill(i); err != nil {
				return err
			}
		}
		return nil
	}, 3 * time.Second},
}

// kills hurts instances until the time is over, and then has all of them back.
func (d *day) kills(ctx context.Context) error {
	begun := time.Now()
	back := [len(d.instances)]time.Time{}
	next := time.Now().Add(10 * time.Second)
	for {
		over := ctx.Err() != nil
		for i := range d.instances {
			if d.instances[i] == nil && (over || time.Now().After(back[i])) {
				if err := d.start(i); err != nil {
					return err
				}
			}
		}
		if over {
			return nil
		}
		if time.Now().After(next) {
			i, w := d.random.IntN(len(d.instances)), ways[d.random.IntN(len(ways))]
			away := time.Duration(d.random.Int64N(int64(w.back)))
			fmt.Printf("%6.1f s  instance %d: %s, back after %v\n", time.Since(begun).Seconds(), i, w.name, away.Round(100*time.Millisecond))
			if err := w.hurt(d, i); err != nil {
				return err
			}
			d.counts[w.name]++
			for i := range d.instances {
				if d.instances[i] == nil && time.Now().After(back[i]) {
					back[i] = time.Now().Add(away)
				}
			}
			next = time.Now().Add(time.Second + time.Duration(d.random.Int64N(int64(9*time.Second))))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
