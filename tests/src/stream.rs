//! Reads a table's stream as Lambda does.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use serde_json::{Value, json};

use crate::{aws, emulator};

/// Enables the stream that the deployment template configures.
pub async fn enable(url: &str, table: &str) {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    let stream = stream.build().unwrap();
    emulator::client(url, |inner| inner)
        .update_table()
        .table_name(table)
        .stream_specification(stream)
        .send()
        .await
        .unwrap();
}

/// A table's stream, from its beginning.
pub struct Stream {
    url: String,
    arn: String,
    /// The next iterator of each shard; null at the end of a shard.
    iterators: HashMap<String, Value>,
}

impl Stream {
    /// Opens the stream of a table.
    pub async fn open(url: &str, table: &str) -> Self {
        let mut stream = Self { url: url.to_owned(), arn: String::new(), iterators: HashMap::new() };
        let streams = stream.call("ListStreams", json!({"TableName": table})).await;
        streams["Streams"][0]["StreamArn"].as_str().unwrap().clone_into(&mut stream.arn);
        stream
    }

    /// The ARN of the stream.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    async fn call(&self, action: &str, body: Value) -> Value {
        aws::call(&self.url, "dynamodb", &format!("DynamoDBStreams_20120810.{action}"), body).await
    }

    /// The records since the last call, in the form that Lambda passes to a function.
    pub async fn records(&mut self) -> Vec<Value> {
        let stream = self.call("DescribeStream", json!({"StreamArn": self.arn})).await;
        let mut records = Vec::new();
        for shard in stream["StreamDescription"]["Shards"].as_array().unwrap() {
            let name = shard["ShardId"].as_str().unwrap();
            let mut iterator = match self.iterators.get(name) {
                Some(iterator) => iterator.clone(),
                None => {
                    let start = json!({"StreamArn": self.arn, "ShardId": name, "ShardIteratorType": "TRIM_HORIZON"});
                    self.call("GetShardIterator", start).await["ShardIterator"].clone()
                }
            };
            while !iterator.is_null() {
                let page = self.call("GetRecords", json!({"ShardIterator": iterator})).await;
                iterator = page["NextShardIterator"].clone();
                let page = page["Records"].as_array().unwrap();
                records.extend(page.iter().cloned());
                if page.is_empty() {
                    break;
                }
            }
            self.iterators.insert(name.to_owned(), iterator);
        }
        records
    }
}

/// All records of a table's stream so far.
pub async fn records(url: &str, table: &str) -> Vec<Value> {
    Stream::open(url, table).await.records().await
}
