package gregortest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gregorhq/gregor/internal/vfs"
)

// Cluster is brokers that are one cluster.
type Cluster struct {
	// Brokers are its brokers. Each may be stopped and started again while the test runs.
	Brokers []*Broker
}

// StartCluster starts a cluster of so many brokers that ends with the test. Topics have three replicas unless the test asks
// for something else, or there are fewer brokers. With OnDisk, each broker has a folder of its own in the one that is given.
func StartCluster(t testing.TB, brokers int, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range brokers {
		own := func(s *setup) {
			if s.memory == nil {
				s.dir = filepath.Join(s.dir, fmt.Sprintf("broker-%d", i))
			} else {
				s.memory = vfs.NewMemory()
			}
			if i > 0 {
				s.keys["join"] = c.Brokers[0].Addr()
			}
		}
		c.Brokers = append(c.Brokers, Start(t, append(slices.Clone(options), own)...))
	}
	return c
}

// Addrs are the addresses of the brokers, with commas, as clients take them.
func (c *Cluster) Addrs() string { return strings.Join(c.Seeds(), ",") }

// Seeds are the addresses of the brokers that run.
func (c *Cluster) Seeds() []string {
	var seeds []string
	for _, b := range c.Brokers {
		if b.daemon != nil {
			seeds = append(seeds, b.Addr())
		}
	}
	return seeds
}
