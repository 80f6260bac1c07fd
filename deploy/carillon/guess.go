package main

import (
	"context"
	"os"
	"time"

	"carillon/deploy/guessrun"
)

type guessRunCommand struct {
	Base      string        `name:"base" required:"" help:"The authority's URL on a loopback address, ending in a slash; api/verify and api/issue follow. Its server must trust 127.0.0.1 as a proxy." placeholder:"URL"`
	DeviceKey string        `name:"device-key" required:"" env:"CARILLON_DEVICE_KEY" help:"API key of kind device." placeholder:"KEY"`
	AdminKey  string        `name:"admin-key" required:"" env:"CARILLON_ADMIN_KEY" help:"API key of kind admin." placeholder:"KEY"`
	Guesses   int           `default:"20000" help:"How many guesses to make."`
	Workers   int           `default:"64" help:"How many guess at the same time."`
	Networks  int           `default:"2000" help:"From how many networks, of ten addresses each."`
	Prey      int           `default:"100" help:"How many codes wait to be guessed."`
	Pause     time.Duration `default:"2s" help:"Time between two honest phones."`
}

func (c guessRunCommand) Run(ctx context.Context) error {
	f, err := guessrun.Run(ctx, guessrun.Options{
		Base: c.Base, DeviceKey: c.DeviceKey, AdminKey: c.AdminKey,
		Guesses: c.Guesses, Workers: c.Workers, Networks: c.Networks, Prey: c.Prey, Pause: c.Pause,
	})
	if err != nil {
		return err
	}
	if err := f.Write(os.Stdout); err != nil {
		return err
	}
	if !f.Held() {
		return errReported
	}
	return nil
}
