package main

import "errors"

func newWorld(o options) (world, links, error) {
	if !o.loopback {
		return nil, nil, errors.New("only -loopback is there so far: make chaos CHAOS_FLAGS=-loopback")
	}
	l, err := newLoopback(o.nodes)
	return l, nil, err
}
