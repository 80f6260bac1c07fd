// Command go shows how a program asks Carillon for things. It needs nothing but Go's own
// library; carillon.go is the part to copy.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, err := run(ctx, Client{
		URL: os.Getenv("CARILLON_URL"), AdminKey: os.Getenv("CARILLON_ADMIN_KEY"),
		StatsKey: os.Getenv("CARILLON_STATS_KEY"), DeviceKey: os.Getenv("CARILLON_DEVICE_KEY"),
	}, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	_ = out.Encode(answer)
}

var errUsage = errors.New("usage: issue TYPE ONSET | status UUID | expire UUID | batch ONSET… | stats | certificate CODE")

func run(ctx context.Context, c Client, args []string) (any, error) {
	switch {
	case len(args) == 3 && args[0] == "issue":
		return c.Issue(ctx, IssueRequest{TestType: args[1], SymptomDate: args[2]})
	case len(args) == 2 && args[0] == "status":
		return c.Status(ctx, args[1])
	case len(args) == 2 && args[0] == "expire":
		return c.Expire(ctx, args[1])
	case len(args) > 1 && args[0] == "batch":
		var rows []IssueRequest
		for _, onset := range args[1:] {
			rows = append(rows, IssueRequest{TestType: "confirmed", SymptomDate: onset})
		}
		return c.Batch(ctx, rows)
	case len(args) == 1 && args[0] == "stats":
		return c.Stats(ctx)
	case len(args) == 2 && args[0] == "certificate":
		return certificate(ctx, c, args[1])
	}
	return nil, errUsage
}

// certificate acts as a phone with one exposure key, that of yesterday.
func certificate(ctx context.Context, c Client, code string) (Certificate, error) {
	verified, err := c.Verify(ctx, code)
	if err != nil {
		return Certificate{}, err
	}
	const day = 144
	secret, exposure := make([]byte, 16), make([]byte, 16)
	rand.Read(secret)
	rand.Read(exposure)
	today := int(time.Now().Unix()) / 600 / day * day
	keys := []ExposureKey{{Key: base64.StdEncoding.EncodeToString(exposure), RollingStart: today - day, RollingPeriod: day}}
	return c.Certificate(ctx, verified.Token, MAC(secret, keys))
}
