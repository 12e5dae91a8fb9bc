package main

import (
	"slices"
	"sort"
	"time"
)

// late is how long a commit may take before an earlier try of its request may still be under way on a connection that the client has
// given up: such a request can arrive after younger commits. Kafka's protocol does not prevent that, so it is no violation.
const late = time.Second

// claim is what a group can have committed and own: one partition.
type claim struct {
	group     string
	partition int32
}

// checkGroups looks at what groups were promised: of a partition that is a member's nobody else commits, and what is committed is kept.
func (c *checker) checkGroups() {
	commits, tenures := map[claim][]*commit{}, map[claim][]*tenure{}
	for _, one := range c.Commits {
		at := claim{one.Group, one.Partition}
		commits[at] = append(commits[at], one)
	}
	for _, one := range c.Tenures {
		at := claim{one.Group, one.Partition}
		tenures[at] = append(tenures[at], one)
	}
	for _, reader := range c.Consumers {
		for _, r := range reader.Reads {
			if r.Fresh {
				c.checkStart(reader, r, commits[claim{reader.Group, r.Partition}])
			}
		}
	}
	for _, group := range sortedKeys(groupsOf(c.Consumers)) {
		for _, partition := range c.partitions() {
			at := claim{group, partition}
			c.checkOwners(at, commits[at], tenures[at])
			c.checkBackwards(at, commits[at], tenures[at])
			c.checkKept(at, commits[at])
		}
	}
}

func groupsOf(consumers []*consumer) map[string]bool {
	all := map[string]bool{}
	for _, one := range consumers {
		if one.Group != "" {
			all[one.Group] = true
		}
	}
	return all
}

// overtaken says whether a commit of this offset may have arrived after younger ones.
func overtaken(commits []*commit, offset int64) bool {
	return slices.ContainsFunc(commits, func(one *commit) bool {
		return one.Offset == offset && (!one.Acked || one.Ended-one.Began >= late)
	})
}

// checkStart: a member that is given a partition begins where the group has committed.
func (c *checker) checkStart(reader *consumer, r read, commits []*commit) {
	var least, most int64
	for _, one := range commits {
		if one.Acked && one.Ended < r.Assigned {
			least = max(least, one.Offset)
		}
		if one.Began < r.At {
			most = max(most, one.Offset)
		}
	}
	if r.Offset < least && !overtaken(commits, r.Offset) {
		c.report("lost-commit", "%s was given partition %d after %v and began at offset %d: %d was committed", reader.Name, r.Partition, r.Assigned, r.Offset, least)
	}
	if r.Offset > most && c.between(r.Partition, most-1, r.Offset) {
		c.report("poll-skip", "%s was given partition %d after %v and began at offset %d: nobody had committed more than %d", reader.Name, r.Partition, r.Assigned, r.Offset, most)
	}
}

// checkOwners: once another member was given a partition, whoever has not given it back can commit nothing of it any more: the
// coordinator knows better than that member whose it is. (That it still reads is nobody's fault: it has not heard yet.)
func (c *checker) checkOwners(at claim, commits []*commit, tenures []*tenure) {
	for _, one := range commits {
		if !one.Acked {
			continue
		}
		own := latest(tenures, one.Began, func(t *tenure) bool { return t.Member == one.Member })
		if own == nil {
			continue
		}
		other := latest(tenures, one.Began, func(t *tenure) bool { return t.Member != one.Member && (t.To == 0 || t.To > one.Ended) })
		if other != nil && other.From > own.From {
			c.report("two-owners", "%s has committed offset %d of partition %d after %v, which %s was given after %v", one.Member, one.Offset, at.partition, one.Began, other.Member, other.From)
		}
	}
}

// latest is the tenure that began last, at a time or before, among some.
func latest(tenures []*tenure, before time.Duration, which func(*tenure) bool) *tenure {
	var found *tenure
	for _, t := range tenures {
		if t.From <= before && which(t) && (found == nil || t.From > found.From) {
			found = t
		}
	}
	return found
}

// checkBackwards: a commit that was asked for when a greater one had been acknowledged is only a member's that began anew since: where it
// had to begin is checkStart's.
func (c *checker) checkBackwards(at claim, commits []*commit, tenures []*tenure) {
	done := slices.DeleteFunc(slices.Clone(commits), func(one *commit) bool { return !one.Acked })
	slices.SortFunc(done, func(a, b *commit) int { return int(a.Ended - b.Ended) })
	for _, one := range done {
		since := time.Duration(-1)
		if own := latest(tenures, one.Began, func(t *tenure) bool { return t.Member == one.Member }); own != nil {
			since = own.From
		}
		before := sort.Search(len(done), func(i int) bool { return done[i].Ended >= one.Began })
		for i := before - 1; i >= 0 && done[i].Ended >= since; i-- {
			if done[i].Offset > one.Offset {
				c.report("commit-backwards", "%s has committed offset %d of partition %d after %v, and %s offset %d before", one.Member, one.Offset, at.partition, one.Began, done[i].Member, done[i].Offset)
				break
			}
		}
	}
}

// checkKept: at the end the group has what was acknowledged.
func (c *checker) checkKept(at claim, commits []*commit) {
	var least int64
	for _, one := range commits {
		if one.Acked {
			least = max(least, one.Offset)
		}
	}
	if end := c.Committed[at.group][at.partition]; end < least && !overtaken(commits, end) {
		c.report("lost-commit", "%s has committed %d of partition %d at the end: %d was acknowledged", at.group, end, at.partition, least)
	}
}
