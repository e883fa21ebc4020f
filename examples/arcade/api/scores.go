package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// scores keeps points in PostgreSQL.
type scores struct{ pool *pgxpool.Pool }

// schema is safe to run by several replicas at once: the advisory lock makes them take turns.
const schema = `
SELECT pg_advisory_xact_lock(72616);
CREATE TABLE IF NOT EXISTS scores (
	player text PRIMARY KEY,
	points bigint NOT NULL DEFAULT 0
)`

func openScores(ctx context.Context, host, password string) (*scores, error) {
	cfg, err := pgxpool.ParseConfig("user=arcade dbname=arcade sslmode=disable pool_max_conns=8")
	if err != nil {
		return nil, fmt.Errorf("configure database: %w", err)
	}
	cfg.ConnConfig.Host, cfg.ConnConfig.Password = host, password
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, schema, pgx.QueryExecModeSimpleProtocol)
		return err
	}); err != nil {
		pool.Close()
		return nil, fmt.Errorf("create tables: %w", err)
	}
	return &scores{pool}, nil
}

func (s *scores) ping(ctx context.Context) error { return s.pool.Ping(ctx) }

func (s *scores) best(ctx context.Context, n int) ([]score, error) {
	rows, err := s.pool.Query(ctx, "SELECT player, points FROM scores ORDER BY points DESC, player LIMIT $1", n)
	if err != nil {
		return nil, fmt.Errorf("read scores: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[score])
}

// add adds points to a player's score in one transaction and returns the sum.
func (s *scores) add(ctx context.Context, player string, points int) (total int, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO scores (player, points) VALUES ($1, $2)
			ON CONFLICT (player) DO UPDATE SET points = scores.points + excluded.points RETURNING points`,
			player, points).Scan(&total)
	})
	if err != nil {
		return 0, fmt.Errorf("add points: %w", err)
	}
	return total, nil
}
