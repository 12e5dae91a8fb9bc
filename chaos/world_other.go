//go:build !linux

package main

import "errors"

func newWorld(o options) (world, links, error) {
	if !o.loopback {
		return nil, nil, errors.New("network namespaces and TUN are Linux's: here there is only -loopback")
	}
	l, err := newLoopback(o.nodes)
	return l, nil, err
}
