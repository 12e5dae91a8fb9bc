package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/internal/config"
	"github.com/gregorhq/gregor/internal/vfs"
)

// TestThreeDaemonsAreOneCluster joins daemons over real sockets, and takes one after another away from its clients: stopped in
// good order and started again, without being told where the others are.
func TestThreeDaemonsAreOneCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	disks := []vfs.FS{vfs.NewMemory(), vfs.NewMemory(), vfs.NewMemory()}
	daemons := make([]*Daemon, 3)
	var addresses []string
	for i := range daemons {
		static := config.Static{"listeners": "127.0.0.1:0"}
		if i > 0 {
			static["join"] = strings.Join(addresses, ",")
		}
		daemons[i] = begin(t, Config{FS: disks[i], Dir: "/data", Static: static})
		addresses = append(addresses, daemons[i].Addresses()[0].String())
		if id := int(daemons[i].Node().ID()); id != i {
			t.Errorf("the node that came as number %d is node %d", i, id)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.DefaultProduceTopic("t"), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 6, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	produced := 0
	produce := func() {
		t.Helper()
		for range 50 {
			if err := client.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(produced))).FirstErr(); err != nil {
				t.Fatal(err)
			}
			produced++
		}
	}
	produce()
	for i := range daemons {
		// All three have to be there and in sync, or another may not go.
		inSync(ctx, t, admin)
		if err := daemons[i].Close(); err != nil {
			t.Error(err)
		}
		produce()
		daemons[i] = begin(t, Config{FS: disks[i], Dir: "/data", Static: config.Static{"listeners": addresses[i]}})
	}
	produce()
	ends, err := admin.ListEndOffsets(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	if total != int64(produced) {
		t.Errorf("%d records were acknowledged and there are %d", produced, total)
	}
}

func inSync(ctx context.Context, t *testing.T, admin *kadm.Client) {
	t.Helper()
	for {
		m, err := admin.Metadata(ctx, "t")
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("the replicas do not come in sync")
		}
		all := err == nil && len(m.Brokers) == 3
		m.Topics.EachPartition(func(p kadm.PartitionDetail) { all = all && len(p.ISR) == 3 && p.Leader >= 0 })
		if all {
			return
		}
	}
}

func TestADaemonThatIsToJoinItselfIsToldWhatToDo(t *testing.T) {
	first := begin(t, Config{FS: vfs.NewMemory(), Dir: "/data"})
	address := first.Addresses()[0].String()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Start(Config{FS: vfs.NewMemory(), Dir: "/data", HTTP: "off", Static: config.Static{"listeners": address, "join": address}})
	if err == nil || !strings.Contains(err.Error(), "without") {
		t.Errorf("%v", err)
	}
}
