package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequestsStartOnTimeWhateverTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 995*time.Millisecond)
		defer cancel()
		var n atomic.Int32
		r := Run(ctx, 100, func(context.Context) error {
			time.Sleep(2 * time.Second) // a server that is slower than the run is long
			if n.Add(1)%10 == 0 {
				return errors.New("tenth")
			}
			return nil
		})
		if r.Sent != 100 || r.Failed != 10 || r.Failures["tenth"] != 10 {
			t.Fatalf("%s", r)
		}
		if p := r.Quantile(0.5); p < 2*time.Second || p > 2100*time.Millisecond {
			t.Fatalf("p50 is %s", p)
		}
	})
}
