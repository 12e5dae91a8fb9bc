//go:build !linux

package main

import "errors"

func ownMounts() error { return nil }

func newDisks(string, string, int) (disks, error) {
	return nil, errors.New("disks that can be hurt take loop devices and FUSE, which are Linux's")
}
