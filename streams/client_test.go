package streams

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The group's callback may come before the function that makes the client has returned it.
func TestAnAppKnowsItsClientWhenItIsAssignedPartitions(t *testing.T) {
	a, clients := &App{}, make([]*kgo.Client, 2)
	for n := range clients {
		client, err := kgo.NewClient()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		clients[n] = client
	}
	a.assigned(t.Context(), clients[0], nil)
	if a.client != clients[0] {
		t.Error("it does not")
	}
	if a.use(clients[1]); a.client != clients[0] {
		t.Error("it changes to another")
	}
}
