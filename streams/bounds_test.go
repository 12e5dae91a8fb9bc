package streams

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gregorhq/gregor/gregortest"
)

// Brokers hear one after the other of a changelog that was only just made. A task waits for that.
func TestATaskWaitsUntilItsChangelogIsKnown(t *testing.T) {
	t.Parallel()
	broker := gregortest.Start(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	created := make(chan error, 1)
	go func() {
		time.Sleep(300 * time.Millisecond)
		made, err := admin.CreateTopic(t.Context(), 1, 1, nil, "changelog")
		if err == nil {
			err = made.Err
		}
		created <- err
	}()
	app := &App{admin: admin}
	starts, ends, err := app.bounds(t.Context(), []string{"changelog"}, 0)
	if err != nil || starts["changelog"] != 0 {
		t.Fatal(starts, ends, err)
	}
	if err := <-created; err != nil {
		t.Fatal(err)
	}
}
