package main

import (
	"testing"
	"time"
)

func TestAStopMayTakeLongerOnASlowDisk(t *testing.T) {
	d := &devices{all: []*oneDevice{{device: newDevice(platter(of(0, 1)))}, {device: newDevice(platter(of(0, 1)))}}}
	c := newCluster(nil, nil, "", "", 2)
	fast := c.patience(c.nodes[0]) // on a folder
	c.disks = d
	d.all[0].set(deviceFaults{slow: time.Second})
	if slow, other := c.patience(c.nodes[0]), c.patience(c.nodes[1]); slow <= fast || other != fast {
		t.Errorf("%v on a slow disk, %v on another, %v on a folder", slow, other, fast)
	}
}
