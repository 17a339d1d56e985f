// Azurite's blob service in memory, on a free loopback port. Prints its address.
const { default: BlobConfiguration } = require("azurite/dist/src/blob/BlobConfiguration");
const { default: BlobServer } = require("azurite/dist/src/blob/BlobServer");
const { SharedChunkStore } = require("azurite/dist/src/common/persistence/MemoryExtentStore");

const configuration = new BlobConfiguration("127.0.0.1", 0, 5, "", "", [], false, undefined, false, undefined, false);
configuration.skipApiVersionCheck = true;
configuration.isMemoryPersistence = true;
configuration.memoryStore = SharedChunkStore;

const server = new BlobServer(configuration);
server.start().then(() => console.log(server.getHttpServerAddress()));
