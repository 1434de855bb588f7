// Firebase's storage emulator on loopback, for tests: firebase.js PORT, with TMPDIR as its place.
//
// The class that serves is started by itself, without the suite around it, which would fetch a program for
// its rules from the internet. Google's JSON interface asks no rules: its objects are the administrator's.
'use strict';
const tools = 'firebase-tools/lib/emulator/';
const { StorageEmulator } = require(tools + 'storage');
const { EmulatorRegistry } = require(tools + 'registry');

const host = '127.0.0.1';
const port = Number(process.argv[2]);
const emulator = new StorageEmulator({ projectId: 'varve-test', host, port, rules: [], auto_download: false });
emulator._rulesRuntime.start = async () => {};
emulator._rulesManager = { start: async () => {}, stop: async () => {}, getRuleset: () => undefined };
EmulatorRegistry.url = () => new URL(`http://${host}:${port}`); // of the sessions of uploads
emulator.start().then(() => console.log('listening'));
