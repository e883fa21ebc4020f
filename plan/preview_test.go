package plan_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
)

func TestPreviewChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.put(node("a"))
	w.deploy(shop(spec("web", func(s *holdfast.Spec) { s.Replicas = 2 })))
	w.settle()
	before := w.ps()
	request, err := plan.Deploy(w.snap(), shop(spec("web", func(s *holdfast.Spec) { s.Image = "web:2"; s.Replicas = 2 })), w.now)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			actions, err := plan.Preview(w.snap(), request, w.now, rand.New(rand.NewPCG(1, 1)))
			text := fmt.Sprint(actions)
			for _, want := range []string{"create release 2 of service web", "create replica shop-web-1-", "updated to release 2"} {
				if err != nil || !strings.Contains(text, want) {
					t.Errorf("preview %q lacks %q (%v)", text, want, err)
				}
			}
		})
	}
	wg.Wait()
	if w.ps() != before || w.service("web").Release != 1 {
		t.Errorf("the preview changed the state:\n%s", w.ps())
	}
}
