package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// connect opens a session at the arcade's PostgreSQL, over its published port.
func (a arcade) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("host=127.0.0.1 port=15432 user=arcade dbname=arcade sslmode=disable connect_timeout=5")
	if err != nil {
		return nil, err
	}
	cfg.Password, cfg.DialFunc = a.password, a.Dial
	return pgx.ConnectConfig(ctx, cfg)
}

// ledger commits transactions of two rows each, one after the other, and remembers what was acknowledged.
type ledger struct {
	arcade
	acknowledged atomic.Int64 // transactions 1 to this
	sessions     int
}

func newLedger(a arcade) *ledger {
	a.T.Helper()
	l := &ledger{arcade: a}
	a.Eventually(30*time.Second, "PostgreSQL answers", func() error {
		conn, err := a.connect(a.T.Context())
		if err != nil {
			return err
		}
		defer conn.Close(a.T.Context()) //nolint:errcheck // the answer is there
		_, err = conn.Exec(a.T.Context(), "CREATE TABLE ledger (n bigint, side text, PRIMARY KEY (n, side))")
		return err
	})
	return l
}

// run commits until ctx ends; after a broken session it connects again and goes on.
func (l *ledger) run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := l.connect(ctx)
		if err != nil {
			continue
		}
		l.sessions++
		for err == nil && ctx.Err() == nil {
			err = l.commit(conn, l.acknowledged.Load()+1)
		}
		conn.Close(context.Background()) //nolint:errcheck // broken, most likely
	}
}

// commit writes transaction n unless an earlier try, whose answer was lost, has.
func (l *ledger) commit(conn *pgx.Conn, n int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO ledger VALUES ($1, 'debit'), ($1, 'credit') ON CONFLICT DO NOTHING", n)
		return err
	})
	if err == nil {
		l.acknowledged.Store(n)
	}
	return err
}

// during runs work while transactions are committed, waits until they are committed again, and fails the test unless
// all that was ever acknowledged is there, whole.
func (l *ledger) during(what string, work func()) {
	l.T.Helper()
	ctx, cancel := context.WithCancel(l.T.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx)
	}()
	l.waitCommitted("before " + what)
	work()
	l.waitCommitted("after " + what)
	cancel()
	<-done
	l.check(what)
}

func (l *ledger) waitCommitted(when string) {
	l.T.Helper()
	enough := l.acknowledged.Load() + 20
	l.Eventually(60*time.Second, "transactions are committed "+when, func() error {
		if now := l.acknowledged.Load(); now < enough {
			return fmt.Errorf("%d of %d are", now, enough)
		}
		return nil
	})
}

func (l *ledger) check(after string) {
	l.T.Helper()
	conn, err := l.connect(l.T.Context())
	if err != nil {
		l.T.Fatal(err)
	}
	defer conn.Close(l.T.Context()) //nolint:errcheck // the answer is there
	var transactions, rows int64
	if err := conn.QueryRow(l.T.Context(), "SELECT count(DISTINCT n), count(*) FROM ledger").Scan(&transactions, &rows); err != nil {
		l.T.Fatal(err)
	}
	if acknowledged := l.acknowledged.Load(); transactions < acknowledged || rows != 2*transactions {
		l.T.Errorf("after %s there are %d transactions, of %d rows; %d were acknowledged", after, transactions, rows, acknowledged)
	}
	l.T.Logf("%s: %d transactions acknowledged, %d are there; %d sessions so far", after, l.acknowledged.Load(), transactions, l.sessions)
}

func TestPostgreSQLKeepsWhatItAcknowledged(t *testing.T) {
	l := newLedger(deployArcade(t, started(t)))
	l.during("kill -9 of the container", func() {
		victim := l.waitReady("db", 1)[0]
		l.Kill(victim.Status.PID)
		l.waitReplaced(victim, 1)
	})
	sessions := l.sessions
	l.during("kill -9 of the agent", func() {
		l.KillAgent()
		l.StartAgent()
	})
	if l.sessions != sessions+1 {
		t.Errorf("%d sessions broke when the agent was killed", l.sessions-sessions-1)
	}
	l.during("a power cut", func() {
		l.PowerOff()
		l.Boot()
		l.StartAgent()
	})
}
